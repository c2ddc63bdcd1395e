// Package client is what the programs of this module share: the verbs that
// ../../README.md tells, over whatever a library offers.
package client

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Lot is how many records go into one transaction.
const Lot = 100

// Record is one record, with the value of its header "by".
type Record struct{ By, Key, Value []byte }

// Library does each verb; a nil one it does not have.
type Library struct {
	Produce func(broker, topic, codec string, records []Record) error
	// Consume hands over that many records, of partition 0 where group is empty,
	// and commits each one otherwise.
	Consume func(broker, topic string, count int, group string, hand func(Record)) error
	// Next is Consume in a group under the protocol of KIP-848.
	Next     func(broker, topic string, count int, group string, hand func(Record)) error
	Transact func(broker, topic string, records []Record) error
	Copy     func(broker, from, to, group string, count int) error
}

// Main carries out what the command line says, and ends the process.
func Main(l Library) {
	if err := l.run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (l Library) run(verb string, args []string) error {
	switch verb {
	case "produce":
		records, err := input()
		if err != nil {
			return err
		}
		return l.Produce(args[0], args[1], args[2], records)
	case "transact":
		records, err := input()
		if err != nil {
			return err
		}
		return l.Transact(args[0], args[1], records)
	case "copy":
		count, err := strconv.Atoi(args[4])
		if err != nil {
			return err
		}
		return l.Copy(args[0], args[1], args[2], args[3], count)
	case "consume":
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		consume := l.Consume
		if len(args) > 4 && args[4] == "consumer" {
			consume = l.Next
		}
		return consume(args[0], args[1], count, append(args, "")[3], func(r Record) {
			fmt.Printf("by=%s\t%s\t%s\n", r.By, r.Key, r.Value)
		})
	default:
		return fmt.Errorf("no verb is called %q", verb)
	}
}

func input() (records []Record, _ error) {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("\t"))
		records = append(records, Record{Key: key, Value: value})
	}
	return records, nil
}

// Lots cuts records into those of one transaction each.
func Lots(records []Record) (lots [][]Record) {
	for len(records) > Lot {
		lots, records = append(lots, records[:Lot]), records[Lot:]
	}
	return append(lots, records)
}

// Doomed are the same records, marked as never to be seen.
func Doomed(records []Record) (marked []Record) {
	for _, r := range records {
		marked = append(marked, Record{Key: r.Key, Value: append([]byte("aborted "), r.Value...)})
	}
	return marked
}
