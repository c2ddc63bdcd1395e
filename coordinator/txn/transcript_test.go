package txn

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

var update = flag.Bool("update", false, "write what happens into the transcripts")

// TestTranscripts plays the files of testdata. Each begins with why it is
// there. A block is a command, a line `----`, and what the machine did; see
// script.run for the commands. Run with -update to write them anew.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			is := play(t, string(was))
			if *update {
				if err := os.WriteFile(file, []byte(is), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if is != string(was) {
				t.Errorf("%s tells otherwise; this happened:\n%s", file, is)
			}
		})
	}
}

// play runs the commands of a transcript and returns it with what happened.
func play(t *testing.T, text string) string {
	s := newScript(t)
	var out bytes.Buffer
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		command, _, _ := strings.Cut(block, "\n----")
		out.WriteString(command + "\n")
		if last := command[strings.LastIndex(command, "\n")+1:]; strings.HasPrefix(last, "#") {
			continue // words alone
		}
		out.WriteString("----\n")
		for line := range strings.SplitSeq(command, "\n") {
			if !strings.HasPrefix(line, "#") {
				out.WriteString(s.run(strings.Fields(line)))
			}
		}
	}
	return out.String()
}

// script drives one machine after another over one journal.
type script struct {
	t       *testing.T
	m       *Machine
	now     time.Time
	epoch   int64
	ticket  shard.Ticket
	journal []journal.Record
	calls   map[uint64]any
	view    metadataclient.View
}

func newScript(t *testing.T) *script {
	s := &script{t: t, now: time.UnixMilli(1_000_000), view: metadataclient.View{Settings: &metadataclient.Settings{Configs: map[string]string{}}}}
	s.load()
	return s
}

// load makes a machine from the journal, under the next epoch.
func (s *script) load() string {
	s.epoch++
	s.m, s.calls = New(DefaultConfig()), map[uint64]any{}
	for _, r := range s.journal {
		if err := s.m.Replay(r); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.step(shard.Loaded{Epoch: s.epoch, View: &s.view})
}

// run is one command:
//
//	init ID [timeout=MS] [as=PID/EPOCH]
//	add|verify ID as=PID/EPOCH [TOPIC-PARTITION…] [offsets-SHARD…]
//	commit|abort ID as=PID/EPOCH [v1] [empty]        force ID
//	ids FIRST COUNT    noids    done CALL [failed]   answers of calls
//	pass MS            time passes                   crash   a new owner replays
//	seed ID as=PID/EPOCH   as if it had come so far, then crash
//	set NAME VALUE     of the cluster                list [STATE…] [pid=N] [longer=MS] [match=RE]     describe ID…
func (s *script) run(f []string) string {
	switch f[0] {
	case "init":
		q := InitProducer{ID: f[1], TimeoutMs: 60_000, Expected: Nobody}
		for _, o := range f[2:] {
			if v, ok := strings.CutPrefix(o, "timeout="); ok {
				q.TimeoutMs = int32(s.number(v))
			} else {
				q.Expected = s.identity(o)
			}
		}
		q.ID = strings.Trim(q.ID, `"`)
		return s.ask(q)
	case "add", "verify":
		return s.ask(AddParticipants{ID: f[1], Producer: s.identity(f[2]), Participants: s.participants(f[3:]), VerifyOnly: f[0] == "verify", Revision: 5})
	case "commit", "abort":
		q := EndTransaction{ID: f[1], Producer: s.identity(f[2]), Commit: f[0] == "commit", Version: 2, AllowEmpty: slices.Contains(f, "empty")}
		if slices.Contains(f, "v1") {
			q.Version = 1
		}
		return s.ask(q)
	case "force":
		return s.ask(EndTransaction{ID: f[1], Producer: Nobody, Version: 2, Force: true})
	case "list":
		return s.ask(s.filter(f[1:]))
	case "describe":
		return s.ask(Describe{IDs: f[1:]})
	case "ids":
		return s.result(s.pending(AllocateProducerIDs{}), ProducerIDs{s.number(f[1]), s.number(f[2])}, nil)
	case "noids":
		return s.result(s.pending(AllocateProducerIDs{}), nil, errcode.New(errcode.ControllerUnavailable, "no controller"))
	case "done":
		if len(f) > 2 {
			return s.result(uint64(s.number(f[1])), nil, errcode.New(errcode.Canceled, "gave up"))
		}
		return s.result(uint64(s.number(f[1])), nil, nil)
	case "pass":
		return s.pass(time.Duration(s.number(f[1])) * time.Millisecond)
	case "crash":
		return s.load()
	case "seed":
		r := &Record{State: Empty, Producer: s.identity(f[2]), Previous: Nobody, Marker: Nobody, TimeoutMs: 60_000, UpdateMs: s.now.UnixMilli(), Ended: Ended{Producer: Nobody}}
		s.journal = append(s.journal, journal.Put(Kind, r.Proto(), f[1]))
		return s.load()
	case "set":
		s.view.Settings.Configs[f[1]] = f[2]
		return s.step(shard.View{View: &s.view})
	}
	s.t.Fatalf("no command %v", f)
	return ""
}

func (s *script) pass(d time.Duration) (out string) {
	for end := s.now.Add(d); ; {
		at := s.m.Deadline()
		if at.IsZero() || at.After(end) {
			s.now = end
			return out
		}
		s.now = at
		out += s.step(shard.Tick{})
	}
}

func (s *script) ask(q any) string {
	s.ticket++
	return s.step(shard.Request{Ticket: s.ticket, Message: q})
}

func (s *script) result(call uint64, answer any, err error) string {
	if _, ok := s.calls[call]; !ok {
		s.t.Fatalf("no call %d is under way", call)
	}
	delete(s.calls, call)
	return s.step(shard.Result{ID: call, Answer: answer, Err: err})
}

func (s *script) pending(message any) uint64 {
	for id, m := range s.calls {
		if m == message {
			return id
		}
	}
	s.t.Fatalf("no call %v is under way", message)
	return 0
}

// step tells what the machine did.
func (s *script) step(e shard.Event) string {
	effects := s.m.Step(s.now, e)
	var out strings.Builder
	for _, r := range effects.Records {
		s.journal = append(s.journal, r)
		out.WriteString(s.tellRecord(r))
	}
	for _, r := range effects.Replies {
		who := ""
		if r.Ticket != s.ticket {
			who = fmt.Sprintf(" to request %d", r.Ticket)
		}
		if r.Err != nil {
			fmt.Fprintf(&out, "refuse%s %s\n", who, errcode.ReasonOf(r.Err))
		} else {
			fmt.Fprintf(&out, "answer%s%s\n", who, tell(r.Message))
		}
	}
	for _, c := range effects.Calls {
		s.calls[c.ID] = c.Message
		fmt.Fprintf(&out, "call %d:%s\n", c.ID, tell(c.Message))
	}
	return out.String()
}

func (s *script) tellRecord(r journal.Record) string {
	_, parts, err := journal.ParseKey(r.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Value == nil {
		return fmt.Sprintf("write %s: forgotten\n", parts[0])
	}
	var value coordinatorv1.TransactionRecord
	if err := journal.ReadValue(r.Value, &value); err != nil {
		s.t.Fatal(err)
	}
	record, err := FromProto(&value)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("write %s:%s\n", parts[0], tell(record))
}

func tell(x any) string {
	switch x := x.(type) {
	case *Identity:
		return " " + x.String()
	case *Verdict:
		out := ""
		for _, e := range append(slices.Clone(x.Partitions), x.OffsetShards...) {
			if e == nil {
				out += " ok"
			} else {
				out += " " + string(e.Reason)
			}
		}
		return out
	case *[]Listed:
		out := ""
		for _, l := range *x {
			out += "\n  " + l.ID + ":" + tell(l.Record)
		}
		return out
	case *Record:
		if x == nil {
			return " unknown"
		}
		out := fmt.Sprintf(" %s %s", x.State, x.Producer)
		if x.Previous != Nobody {
			out += fmt.Sprintf(" (was %s)", x.Previous)
		}
		if x.State.preparing() {
			out += fmt.Sprintf(" marker %s v%d", x.Marker, x.Version)
		}
		if x.Ended.Producer != Nobody {
			how := map[bool]string{true: "committed", false: "aborted"}[x.Ended.Commit]
			out += fmt.Sprintf(" [%s %s by %s]", x.Ended.Producer, how, []string{"", "producer", "timeout", "fence"}[x.Ended.By])
		}
		return out + tellParticipants(x.Participants)
	case SendMarkers:
		how := map[bool]string{true: "commit", false: "abort"}[x.Commit]
		return fmt.Sprintf(" markers of %s: %s %s v%d epoch %d%s", x.ID, how, x.Producer, x.Version, x.CoordinatorEpoch, tellParticipants(x.Participants))
	case AllocateProducerIDs:
		return " producer ids"
	default:
		panic(fmt.Sprintf("%T", x))
	}
}

func tellParticipants(p Participants) (out string) {
	for _, x := range p.Partitions {
		out += fmt.Sprintf(" t%d-%d", x.Topic[0], x.Index)
	}
	for _, x := range p.OffsetShards {
		out += fmt.Sprintf(" offsets-%d", x)
	}
	return out
}

func (s *script) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) identity(text string) Identity {
	pid, epoch, ok := strings.Cut(strings.TrimPrefix(text, "as="), "/")
	if !ok {
		s.t.Fatalf("no identity: %s", text)
	}
	return Identity{s.number(pid), int16(s.number(epoch))}
}

func (s *script) participants(words []string) Participants {
	var partitions []Partition
	var shards []int32
	for _, w := range words {
		name, index, _ := strings.Cut(w, "-")
		if n := int32(s.number(index)); name == "offsets" {
			shards = append(shards, n)
		} else {
			partitions = append(partitions, Partition{topicid.ID{byte(s.number(name[1:]))}, n})
		}
	}
	return NewParticipants(partitions, shards)
}

func (s *script) filter(words []string) List {
	q := List{LongerThanMs: -1}
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, "pid="); ok {
			q.ProducerIDs = append(q.ProducerIDs, s.number(v))
		} else if v, ok := strings.CutPrefix(w, "longer="); ok {
			q.LongerThanMs = s.number(v)
		} else if v, ok := strings.CutPrefix(w, "match="); ok {
			q.ID = regexp.MustCompile("^(?:" + v + ")$")
		} else {
			q.States = append(q.States, w)
		}
	}
	return q
}
