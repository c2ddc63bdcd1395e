package cluster

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

var update = flag.Bool("update", false, "write what happens into the transcripts")

// TestTranscripts plays the files of testdata. Each begins with why it is
// there. A block is commands, a line `----`, and what changed; see script.run
// for the commands. Run with -update to write them anew.
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
	s := &script{t: t, state: New("c")}
	s.state.Defaults.Shards = 6
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

// script drives a state; topics are numbered as they come.
type script struct {
	t      *testing.T
	state  *State
	starts int
	topics byte
}

// run does one command and returns what changed:
//
//	node ID [rack=R]               registers a node and puts it into service
//	register ID [clean] [boot] [empty] [rack=R]   a new start of it
//	unfence | fence | shutdown | remove | evacuate | return ID
//	create NAME A,B,C … [K=V …]    one list of replicas for each partition
//	place NAME COUNT FACTOR        where the controller chooses
//	set NAME K=V …    cluster K=V …    reset NAME K
//	isr NAME-P NODE A,B [le=N] [pe=N] [epoch=N] [member=ID/EPOCH] [recovering]
//	suspect ID NAME-P    elect NAME-P [REPLICA]    elect all    prefer NAME-P
//	move NAME-P A,B,C    cancel NAME-P    plan N    balance N
//	coordinator ID START    silence ID    share N    internal
//	delete NAME
func (s *script) run(w []string) string {
	if c, note := s.command(w); c != nil {
		return note + s.apply(c)
	} else {
		return note
	}
}

func (s *script) command(w []string) (Change, string) {
	switch w[0] {
	case "node":
		s.apply(s.register(w))
		return UnfenceNode{number(w[1])}, ""
	case "register":
		return s.register(w), ""
	case "unfence":
		return UnfenceNode{number(w[1])}, ""
	case "fence":
		return FenceNode{number(w[1])}, ""
	case "shutdown":
		return ShutDownNode{number(w[1])}, ""
	case "remove":
		return RemoveNode{number(w[1])}, ""
	case "evacuate", "return":
		return EvacuateNode{NodeID: number(w[1]), Undo: w[0] == "return"}, ""
	case "create":
		s.topics++
		c := CreateTopic{Name: w[1], ID: topicid.ID{s.topics}, Configs: configs(w[2:])}
		for _, word := range w[2:] {
			if !strings.Contains(word, "=") {
				c.Assignment = append(c.Assignment, numbers(word))
			}
		}
		return c, ""
	case "place":
		s.topics++
		assignment, err := s.state.Place(nil, int(number(w[2])), int(number(w[3])))
		if err != nil {
			return nil, refused(err)
		}
		return CreateTopic{Name: w[1], ID: topicid.ID{s.topics}, Assignment: assignment}, ""
	case "set":
		return AlterTopic{Name: w[1], Set: configs(w[2:])}, ""
	case "reset":
		return AlterTopic{Name: w[1], Reset: w[2:]}, ""
	case "cluster":
		return AlterClusterConfigs{BrokerID: -1, Set: configs(w[1:])}, ""
	case "delete":
		return DeleteTopic{Name: w[1]}, ""
	}
	return s.replicaCommand(w)
}

func (s *script) replicaCommand(w []string) (Change, string) {
	switch w[0] {
	case "isr":
		return s.isr(w), ""
	case "suspect":
		topic, p := s.partition(w[2])
		return ReportReplicas{number(w[1]), s.state.Nodes[number(w[1])].NodeEpoch, []*metadatav1.SuspectReplica{{TopicId: topic, Partition: p}}}, ""
	case "elect", "prefer":
		c := &ElectLeaders{Unclean: w[0] == "elect" && w[1] != "all"}
		if w[1] != "all" {
			topic, p := s.partition(w[1])
			e := &metadatav1.LeaderElection{TopicId: topic, Partition: p, Replica: -1}
			if len(w) > 2 {
				e.Replica = number(w[2])
			}
			c.Elections = append(c.Elections, e)
		}
		return c, ""
	case "move", "cancel":
		topic, p := s.partition(w[1])
		m := &metadatav1.Reassignment{TopicId: topic, Partition: p}
		if w[0] == "move" {
			m.Replicas = numbers(w[2])
		}
		return &AlterReassignments{Moves: []*metadatav1.Reassignment{m}}, ""
	case "plan":
		return s.moves(s.state.PlanMoves(int(number(w[1]))))
	case "balance":
		return s.moves(s.state.BalanceReplicas(int(number(w[1]))))
	case "coordinator":
		return RegisterCoordinator{&metadatav1.CoordinatorState{CoordinatorId: number(w[1]), Incarnation: w[2], Address: "c:" + w[1]}}, ""
	case "silence":
		return FenceCoordinators{[]int32{number(w[1])}}, ""
	case "share":
		return BalanceShards{int(number(w[1]))}, ""
	case "internal":
		return CreateInternalTopics{IDs: [2]topicid.ID{{201}, {202}}}, ""
	}
	s.t.Fatalf("no command %v", w)
	return nil, ""
}

func (s *script) register(w []string) Change {
	s.starts++
	id := number(w[1])
	c := RegisterNode{NodeID: id, Incarnation: fmt.Sprint(s.starts), Address: "n:" + w[1], Rack: configs(w)["rack"]}
	c.SameBoot, c.NoData = slices.Contains(w, "boot"), slices.Contains(w, "empty")
	if slices.Contains(w, "clean") {
		c.PreviousEpoch = s.state.Nodes[id].NodeEpoch
	}
	return c
}

func (s *script) isr(w []string) Change {
	topic, i := s.partition(w[1])
	node, options := number(w[2]), configs(w)
	p := s.state.TopicByID(topicid.ID(topic)).Partitions[i]
	ask := &metadatav1.AlterPartition{TopicId: topic, Partition: i, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Recovering: slices.Contains(w, "recovering")}
	epoch := s.state.Nodes[node].NodeEpoch
	for name, to := range map[string]*int32{"le": &ask.LeaderEpoch, "pe": &ask.PartitionEpoch} {
		if v, set := options[name]; set {
			*to = number(v)
		}
	}
	if v, set := options["epoch"]; set {
		epoch = int64(number(v))
	}
	stale := strings.Split(options["member"]+"/", "/")
	for _, id := range numbers(w[3]) {
		m := &metadatav1.InSyncReplica{NodeId: id, NodeEpoch: s.state.Nodes[id].GetNodeEpoch()}
		if fmt.Sprint(id) == stale[0] {
			m.NodeEpoch = int64(number(stale[1]))
		}
		ask.Isr = append(ask.Isr, m)
	}
	return &AlterPartitions{NodeID: node, NodeEpoch: epoch, Partitions: []*metadatav1.AlterPartition{ask}}
}

func (s *script) partition(word string) ([]byte, int32) {
	name, p, _ := strings.Cut(word, "-")
	t := s.state.Topics[name]
	if t == nil {
		s.t.Fatalf("no topic %s", name)
	}
	return t.TopicId, number(p)
}

func (s *script) moves(plan []*metadatav1.Reassignment) (Change, string) {
	var note strings.Builder
	for _, m := range plan {
		fmt.Fprintf(&note, "move %s-%d to %s\n", s.state.TopicByID(topicid.ID(m.TopicId)).Name, m.Partition, list(m.Replicas))
	}
	return &AlterReassignments{Moves: plan}, note.String()
}

func (s *script) apply(c Change) string {
	next, _, err := s.state.Apply(c)
	if err != nil {
		return refused(err)
	}
	out := results(c)
	for _, id := range slices.Sorted(maps.Keys(next.Nodes)) {
		if n := next.Nodes[id]; n != s.state.Nodes[id] {
			out += fmt.Sprintf("node %d: epoch %d%s%s%s\n", id, n.NodeEpoch, flagged(" fenced", n.Fenced), flagged(" draining", n.Draining), flagged(" evacuating", n.Evacuating))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next.Topics)) {
		t, was := next.Topics[name], s.state.Topics[name]
		for i, p := range t.Partitions {
			if was == nil || i >= len(was.Partitions) || p != was.Partitions[i] {
				out += fmt.Sprintf("%s-%d: %s\n", name, i, partition(p))
			}
		}
	}
	for i, shard := range next.Shards {
		if i >= len(s.state.Shards) || shard != s.state.Shards[i] {
			out += fmt.Sprintf("shard %d: owner %d epoch %d\n", i, shard.Owner, shard.Epoch)
		}
	}
	s.state = next
	return out
}

func results(c Change) (out string) {
	note := func(e *metadatav1.ReplicaError) {
		if e != nil {
			out += "refuse " + e.Reason + "\n"
		}
	}
	switch c := c.(type) {
	case *AlterPartitions:
		for _, r := range c.Results {
			note(r.Error)
		}
	case *ElectLeaders:
		for _, r := range c.Results {
			note(r.Error)
		}
	case *AlterReassignments:
		for _, r := range c.Results {
			note(r.Error)
		}
	}
	return out
}

func refused(err error) string { return "refuse " + string(errcode.ReasonOf(err)) + "\n" }

// partition renders one: replicas, leader and its epoch, partition epoch.
func partition(p *metadatav1.PartitionState) string {
	out := fmt.Sprintf("%s leader %d/%d change %d isr %s", list(p.Replicas), p.Leader, p.LeaderEpoch, p.PartitionEpoch, list(p.Isr))
	for _, part := range []struct {
		name string
		list []int32
	}{{"elr", p.Elr}, {"known", p.LastKnownElr}, {"adding", p.Adding}, {"removing", p.Removing}} {
		if len(part.list) > 0 {
			out += " " + part.name + " " + list(part.list)
		}
	}
	return out + fmt.Sprintf(" min %d", p.MinInsyncReplicas) + flagged(" recovering", p.Recovering)
}

func flagged(word string, on bool) string {
	if on {
		return word
	}
	return ""
}

func list(nodes []int32) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(nodes), "[]"), " ", ",")
}

func number(word string) int32 {
	n, err := strconv.ParseInt(word, 10, 32)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

func numbers(word string) (out []int32) {
	for part := range strings.SplitSeq(word, ",") {
		out = append(out, number(part))
	}
	return out
}

func configs(words []string) map[string]string {
	out := map[string]string{}
	for _, word := range words {
		if name, value, ok := strings.Cut(word, "="); ok {
			out[name] = value
		}
	}
	return out
}
