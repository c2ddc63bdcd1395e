package replication

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"moldau.dev/services/errcode"
)

var update = flag.Bool("update", false, "write what happens into testdata")

// TestTranscripts plays the files of testdata: each `> Event field=value` is one
// step, and the lines below it are its effects. Files begin with why they are
// there.
//
//	> leader node=1 epoch=5 end=10 durable=10 hw=8 isr=1,2 replicas=1,2,3 min=2 log=1@0,3@4
//	> follower node=2 epoch=5 …
//	> Metadata …               the words of leader; those not given stay
//	> after 100ms              time passes
//	> show                     what the core says of itself
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := script{t: t, now: start, words: map[string]string{}, log: &scriptLog{}}
	for line := range strings.Lines(string(want)) {
		if step, ok := strings.CutPrefix(line, "> "); ok {
			s.out.WriteString(line)
			s.step(strings.Fields(step))
		} else if strings.HasPrefix(line, "#") || line == "\n" {
			s.out.WriteString(line)
		}
	}
	if *update {
		if err := os.WriteFile(file, s.out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := s.out.String(); got != string(want) {
		t.Errorf("%s\n%s", file, firstDifference(string(want), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			return fmt.Sprintf("line %d:\n%s\nin the file:\n%s", i+1, strings.Join(g[max(0, i-3):i+1], "\n"), w[min(i, len(w)-1)])
		}
	}
	return "the file goes on"
}

var start = time.Unix(0, 0)

type script struct {
	t        *testing.T
	now      time.Time
	words    map[string]string
	log      *scriptLog
	leader   *Leader
	follower *Follower
	out      bytes.Buffer
}

func (s *script) step(f []string) {
	s.t.Helper()
	for _, w := range f[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			s.words[k] = v
		}
	}
	if v, ok := s.words["log"]; ok {
		s.log.set(s.t, v)
	}
	s.log.start = s.int("start")
	switch f[0] {
	case "leader":
		var out []Effect
		s.leader, out = NewLeader(s.now, DefaultConfig(), s.local(), s.partition(), s.list("former"))
		s.print(out)
	case "follower":
		s.follower = NewFollower(DefaultConfig(), s.local(), s.partition(), 0)
	case "after":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(d)
	case "show":
		s.show()
	case "log":
	default:
		s.print(s.run(s.event(f)))
	}
}

func (s *script) run(e Event) []Effect {
	if s.leader != nil {
		return s.leader.Step(s.now, e)
	}
	return s.follower.Step(s.now, e)
}

func (s *script) show() {
	if l := s.leader; l != nil {
		fmt.Fprintf(&s.out, "hw %d isr %v serving %v known %v under min %v alone %v lags %v\n",
			l.HighWatermark(), l.ISR(), l.Serving(), l.Known(), l.UnderMinISR(), l.Alone(), l.Lags())
		return
	}
	fmt.Fprintf(&s.out, "hw %d following %v\n", s.follower.HighWatermark(), s.follower.Following())
}

func (s *script) print(out []Effect) {
	for _, e := range out {
		line := fmt.Sprintf("%T%+v", e, e)
		if w, ok := e.(Wake); ok {
			line = "Wake " + w.At.Sub(s.now).String()
		}
		s.out.WriteString(strings.ReplaceAll(line, "replication.", "") + "\n")
	}
}

// event builds the event that f names; fields are set by their names.
func (s *script) event(f []string) Event {
	if f[0] == "Metadata" {
		return Metadata{s.partition()}
	}
	kinds := []Event{
		Appended{}, Flushed{}, Ended{}, Overtaken{}, Resigned{}, Altered{}, Tick{}, Begin{}, Ack{},
		Attached{}, Detached{}, Wrote{}, Cut{}, Accept{}, Diverge{}, Reset{}, Refuse{}, Data{},
	}
	for _, kind := range kinds {
		v := reflect.New(reflect.TypeOf(kind)).Elem()
		if v.Type().Name() != f[0] {
			continue
		}
		for _, w := range f[1:] {
			k, val, _ := strings.Cut(w, "=")
			s.set(v, k, val)
		}
		return v.Interface()
	}
	s.t.Fatalf("no event %s", f[0])
	return nil
}

func (s *script) set(v reflect.Value, name, val string) {
	switch name {
	case "state": // of an Altered: the partition as the words say
		p := s.partition()
		v.FieldByName("Partition").Set(reflect.ValueOf(&p))
	case "Divergence": // of a Diverge: epoch@offset
		epoch, end, _ := strings.Cut(val, "@")
		v.FieldByName("End").Set(reflect.ValueOf(EpochEnd{int32(number(s.t, epoch)), number(s.t, end)}))
	case "Reason":
		v.FieldByName(name).Set(reflect.ValueOf(errcode.Reason(val)))
	default:
		f := v.FieldByName(name)
		if !f.IsValid() {
			if s.words[name] != "" && strings.ToLower(name) == name {
				return // a word of the partition
			}
			s.t.Fatalf("no field %s in %s", name, v.Type())
		}
		if f.CanUint() {
			f.SetUint(uint64(number(s.t, val)))
			return
		}
		f.SetInt(number(s.t, val))
	}
}

func number(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *script) int(word string) int64 {
	if v, ok := s.words[word]; ok {
		return number(s.t, v)
	}
	return 0
}

func (s *script) list(word string) (l []int32) {
	for v := range strings.SplitSeq(s.words[word], ",") {
		if v != "" {
			l = append(l, int32(number(s.t, v)))
		}
	}
	return l
}

func (s *script) local() Local {
	return Local{
		Node: int32(s.int("node")), NodeEpoch: 10 + s.int("node"), Log: s.log,
		End: s.int("end"), DurableEnd: s.int("durable"), HighWatermark: s.int("hw"),
	}
}

// partition is what the words say: node n has epoch 10+n, unless nodeN says
// another one; the nodes listed as down do not live.
func (s *script) partition() Partition {
	p := Partition{
		LeaderEpoch: int32(s.int("epoch")), PartitionEpoch: int32(s.int("partition")), ISR: s.list("isr"),
		MinISR: int(s.int("min")), Recovering: s.words["recovering"] == "yes", Durable: s.words["topic"] != "relaxed",
	}
	for _, id := range s.list("replicas") {
		r := Replica{Node: id, NodeEpoch: 10 + int64(id), Live: true}
		if e := s.int(fmt.Sprintf("node%d", id)); e != 0 {
			r.NodeEpoch = e
		}
		for _, down := range s.list("down") {
			r.Live = r.Live && down != id
		}
		p.Replicas = append(p.Replicas, r)
	}
	return p
}

// scriptLog is a log of which only the epochs are known.
type scriptLog struct {
	start  int64
	epochs []EpochEnd // epoch and where it begins
	end    int64
}

// set reads epoch@start,…,end.
func (l *scriptLog) set(t *testing.T, word string) {
	l.epochs = nil
	for w := range strings.SplitSeq(word, ",") {
		epoch, begins, ok := strings.Cut(w, "@")
		if !ok {
			l.end = number(t, w)
			continue
		}
		l.epochs = append(l.epochs, EpochEnd{int32(number(t, epoch)), number(t, begins)})
	}
}

func (l *scriptLog) StartOffset() int64 { return l.start }

func (l *scriptLog) LatestEpoch() int32 {
	if len(l.epochs) == 0 {
		return -1
	}
	return l.epochs[len(l.epochs)-1].Epoch
}

func (l *scriptLog) EndOffsetForEpoch(epoch int32) (int32, int64) {
	if len(l.epochs) == 0 || epoch > l.LatestEpoch() {
		return -1, -1
	}
	if epoch < l.epochs[0].Epoch {
		return epoch, l.epochs[0].EndOffset
	}
	for i, e := range l.epochs {
		if i+1 == len(l.epochs) {
			return e.Epoch, l.end
		}
		if l.epochs[i+1].Epoch > epoch {
			return e.Epoch, l.epochs[i+1].EndOffset
		}
	}
	return -1, -1
}
