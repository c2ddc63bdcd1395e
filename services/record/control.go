package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ControlType is the outcome a transaction marker records.
type ControlType int16

// The two outcomes, by their number in the key of the control record.
const (
	Abort  ControlType = 0
	Commit ControlType = 1
)

// String names the outcome.
func (t ControlType) String() string {
	switch t {
	case Abort:
		return "abort"
	case Commit:
		return "commit"
	}
	return fmt.Sprintf("control type %d", int16(t))
}

// Control is a transaction marker: it ends the open transaction of one
// producer in one partition (KIP-98).
type Control struct {
	Type             ControlType
	ProducerID       int64
	ProducerEpoch    int16 // the bumped epoch under KIP-1228
	CoordinatorEpoch int32 // fences markers of a deposed coordinator
	Timestamp        int64 // ms
}

const (
	controlKeySize   = 4 // version int16, type int16
	controlValueSize = 6 // version int16, coordinator epoch int32
)

// ControlBatch returns the marker c as a batch of one record, base offset 0
// and leader epoch -1. It takes one offset.
func ControlBatch(c Control) []byte {
	key := binary.BigEndian.AppendUint16(make([]byte, 2, controlKeySize), uint16(c.Type))
	value := binary.BigEndian.AppendUint32(make([]byte, 2, controlValueSize), uint32(c.CoordinatorEpoch))
	b := NewBuilder(BuilderOptions{})
	b.Append(&Record{Timestamp: c.Timestamp, Key: key, Value: value})
	h := Header{
		LeaderEpoch:   -1,
		Attributes:    bitTransactional | bitControl,
		BaseTimestamp: c.Timestamp,
		MaxTimestamp:  c.Timestamp,
		ProducerID:    c.ProducerID,
		ProducerEpoch: c.ProducerEpoch,
		BaseSequence:  -1,
		Count:         1,
	}
	batch := append(h.append(make([]byte, 0, b.Size())), b.raw...)
	seal(batch)
	return batch
}

// errOtherControl marks a control record that is no transaction marker.
var errOtherControl = errors.New("no transaction marker")

// ParseControl reads the marker in batch. The error is an *InvalidError: the
// batch is no control batch, is malformed, or records neither abort nor
// commit. Later versions of key and value may be longer. The checksum is left
// to Verify.
func ParseControl(batch []byte) (Control, error) {
	h, err := ParseHeader(batch)
	if err != nil || !h.Control() || h.Count != 1 {
		return Control{}, invalid(InvalidRecord, "not a control batch of one record")
	}
	c := Control{ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch}
	err = ForEach(batch, DefaultLimits(), func(r *Record) error {
		if len(r.Key) < controlKeySize || len(r.Value) < controlValueSize {
			return errOtherControl
		}
		c.Type = ControlType(binary.BigEndian.Uint16(r.Key[2:]))
		c.CoordinatorEpoch = int32(binary.BigEndian.Uint32(r.Value[2:]))
		c.Timestamp = r.Timestamp
		if c.Type != Abort && c.Type != Commit {
			return errOtherControl
		}
		return nil
	})
	if err == errOtherControl {
		return Control{}, invalid(InvalidRecord, "control record is neither abort nor commit")
	}
	if err != nil {
		return Control{}, err
	}
	return c, nil
}
