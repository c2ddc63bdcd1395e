package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

const (
	produceBatchBytes   = 512 << 10 // of one request
	produceBatchRecords = 10_000
	maxLineBytes        = 24 << 20 // a record of 16 MiB in base64, and its names
)

// parser makes a record of a line without its newline, and says which partition
// the line names, if any. It returns no record for a line that holds none.
type parser func(line []byte) (rec *moldauv1.Record, partition *int32, err error)

// chunk is what one request carries.
type chunk struct {
	partition *int32
	records   []*moldauv1.Record
	bytes     int64 // of their lines
}

// portion is what was read at once.
type portion struct {
	chunks []*chunk
	err    error // what ends the input: io.EOF or a fault of it
}

// input cuts lines into requests.
type input struct {
	r     *bufio.Reader
	parse parser
	line  int64 // number of the last line, from 1
}

func newInput(in io.Reader, parse parser) *input {
	return &input{r: bufio.NewReaderSize(in, 64<<10), parse: parse}
}

// start reads on its own, as a read of a terminal cannot be interrupted, until
// the input ends or ctx does.
func (in *input) start(ctx context.Context) <-chan portion {
	portions := make(chan portion)
	go func() {
		for err := error(nil); err == nil; {
			var p portion
			p.chunks, p.err = in.read()
			err = p.err
			select {
			case portions <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return portions
}

// read returns what can be sent now, a chunk for each partition that lines
// name. It does not wait for more while there is something to send and the
// input has nothing to read. With an error come the chunks of the lines before.
func (in *input) read() (chunks []*chunk, err error) {
	var size, count int
	for size < produceBatchBytes && count < produceBatchRecords {
		line, err := readLine(in.r)
		if err != nil && len(line) == 0 {
			return chunks, err
		}
		in.line++
		rec, partition, bad := in.parse(bytes.TrimSuffix(line, []byte("\n")))
		if bad != nil {
			return chunks, hinted("the lines before it were sent; see moldau produce --help", "line %d: %w", in.line, bad)
		}
		if rec != nil {
			to := chunkFor(&chunks, partition)
			to.records, to.bytes = append(to.records, rec), to.bytes+int64(len(line))
			size, count = size+len(line), count+1
		}
		if err != nil || count > 0 && in.r.Buffered() == 0 {
			return chunks, err
		}
	}
	return chunks, nil
}

func chunkFor(chunks *[]*chunk, partition *int32) *chunk {
	for _, c := range *chunks {
		if partition == nil || *partition == *c.partition { // of one parser, all name one or none does
			return c
		}
	}
	c := &chunk{partition: partition}
	*chunks = append(*chunks, c)
	return c
}

// readLine returns a copy of the next line with its newline, if it has one.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > maxLineBytes {
			return nil, hinted("cut the input into shorter lines", "a line is longer than %d bytes", maxLineBytes)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
