package group

import (
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// failer is a test, or a try of a property.
type failer interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// script drives one machine after another over one journal.
type script struct {
	t       failer
	m       *Machine
	now     time.Time
	ticket  shard.Ticket
	labels  map[shard.Ticket]string
	journal []journal.Record
	calls   map[string]uint64 // by label of the request
	view    *metadataclient.View
}

func newScript(t failer) *script {
	s := &script{t: t, now: time.UnixMilli(1_000_000_000), labels: map[shard.Ticket]string{}, calls: map[string]uint64{}, view: &metadataclient.View{
		Topics: map[string]*metadataclient.Topic{}, TopicsByID: map[topicid.ID]*metadataclient.Topic{}, Deleted: map[topicid.ID]string{},
		Settings: &metadataclient.Settings{Configs: map[string]string{}, Features: map[string]int32{}},
	}}
	s.load()
	return s
}

// load makes a machine from the journal.
func (s *script) load() string {
	s.m = New(DefaultConfig())
	clear(s.labels)
	for _, r := range s.journal {
		if err := s.m.Replay(r); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.step(shard.Loaded{View: s.view})
}

// step gives the machine an event and tells what it did.
func (s *script) step(e shard.Event) string {
	out := s.m.Step(s.now, e)
	s.journal = append(s.journal, out.Records...)
	var told strings.Builder
	for _, r := range out.Records {
		fmt.Fprintf(&told, "write %s\n", s.record(r))
	}
	for _, r := range out.Replies {
		label, ok := s.labels[r.Ticket]
		if !ok {
			s.t.Fatalf("a reply to what was not asked, or was answered: %v %v", r.Message, r.Err)
		}
		delete(s.labels, r.Ticket)
		fmt.Fprintf(&told, "%s: %s\n", label, s.reply(r))
	}
	for _, c := range out.Calls {
		q := c.Message.(*coordinatorv1.AddOffsetsRequest)
		s.calls[strconv.Itoa(int(q.GetProducerId()))] = c.ID
		verb := "add"
		if q.GetVerifyOnly() {
			verb = "verify"
		}
		fmt.Fprintf(&told, "call %s offsets of %s to %s %d/%d\n", verb, q.GetGroupId(), q.GetTransactionalId(), q.GetProducerId(), q.GetProducerEpoch())
	}
	return s.alias(told.String())
}

// run is one command. `LABEL: VERB GROUP …` is a request; whatever id it is given
// is called LABEL from then on:
//
//	join   [member=] [instance=] [client=] [session=] [rebalance=] [type=] [protocols=NAME=META,…] [known] [skip]
//	sync   member=M gen=N [instance=] [assign=M=WHAT,…] [type=] [protocol=]
//	beat   member=M gen=N [instance=]
//	leave  M … | @INSTANCE … | M@INSTANCE
//	hb     member=M epoch=N [topics=a,b] [regex=] [owned=t-0,… | owned=] [instance=] [rack=] [assignor=] [rebalance=] [stream= [takes-over]] [legacy]
//	commit [member= gen= instance= legacy each keep=MS] t-0=OFFSET[/EPOCH][/METADATA] …
//	fetch  [member= epoch= stable] t-0 … | all
//	forget t-0 …            describe            delete
//	txn    pid=P/E [add] [member= gen= instance=] t-0=OFFSET …
//
// META and WHAT are bytes, or sub(a+b), sub(a+b|t-0+t-1) and asg(t-0+t-1) of the
// consumer protocol. Others:
//
//	topic NAME PARTITIONS     drop NAME     set NAME VALUE     feature NAME LEVEL
//	pass MS                   crash         list [state=] [type=]
//	verified P [REASON | @N]  marker P/E v1|v2 commit|abort [@N]
//
// of a coordinator of epoch N, 0 where none is said.
func (s *script) run(line string) string {
	f := strings.Fields(line)
	if label, isRequest := strings.CutSuffix(f[0], ":"); isRequest {
		return s.request(label, f[1], f[2:])
	}
	switch f[0] {
	case "topic":
		return s.topic(f[1], s.number(f[2]))
	case "drop":
		return s.drop(f[1])
	case "set":
		return s.change(func(v *metadataclient.View) {
			v.Settings = &metadataclient.Settings{Configs: maps.Clone(v.Settings.Configs), Features: v.Settings.Features}
			v.Settings.Configs[f[1]] = f[2]
		})
	case "feature":
		return s.change(func(v *metadataclient.View) {
			v.Settings = &metadataclient.Settings{Configs: v.Settings.Configs, Features: map[string]int32{f[1]: s.number(f[2])}}
		})
	case "pass":
		return s.pass(time.Duration(s.number(f[1])) * time.Millisecond)
	case "crash":
		return s.load()
	case "list":
		o := newOptions(f[1:])
		return s.ask("list", &coordinatorv1.ListGroupsRequest{States: o.list("state"), Types: o.list("type")})
	case "verified":
		r := shard.Result{ID: s.calls[f[1]], Answer: &coordinatorv1.AddOffsetsResponse{CoordinatorEpoch: s.epochIn(f[2:])}}
		if len(f) > 2 && f[2][0] != '@' {
			r = shard.Result{ID: r.ID, Err: errcode.New(errcode.Reason(f[2]), "")}
		}
		return s.step(r)
	case "marker":
		pid, epoch := s.producer(f[1])
		return s.ask("marker", &coordinatorv1.CompleteOffsetsRequest{
			ProducerId: pid, ProducerEpoch: epoch, TransactionVersion: s.number(f[2][1:]), Commit: f[3] == "commit", CoordinatorEpoch: s.epochIn(f[4:]),
		})
	}
	s.t.Fatalf("what is %q?", line)
	return ""
}

// epochIn is the coordinator epoch that a command ends with.
func (s *script) epochIn(f []string) int64 {
	if len(f) > 0 && f[0][0] == '@' {
		return int64(s.number(f[0][1:]))
	}
	return 0
}

func (s *script) request(label, verb string, f []string) string {
	group, o := f[0], newOptions(f[1:])
	if group == `""` {
		group = ""
	}
	member, instance := s.member(o.one("member")), o.one("instance")
	switch verb {
	case "join":
		return s.ask(label, &coordinatorv1.JoinGroupRequest{
			GroupId: group, MemberId: member, InstanceId: instance, ClientId: o.or("client", "c"), ClientHost: "h",
			SessionTimeoutMs: s.number(o.or("session", "10000")), RebalanceTimeoutMs: s.number(o.or("rebalance", "60000")),
			ProtocolType: o.or("type", "consumer"), Protocols: s.protocols(o.or("protocols", "range=sub(t)")),
			RequireKnownMember: o.has("known"), SupportsSkippingAssignment: o.has("skip"),
		})
	case "sync":
		q := &coordinatorv1.SyncGroupRequest{
			GroupId: group, MemberId: member, InstanceId: instance, Generation: s.number(o.one("gen")), ProtocolType: o.one("type"), ProtocolName: o.one("protocol"),
		}
		for _, a := range o.list("assign") {
			who, what, _ := strings.Cut(a, "=")
			q.Assignments = append(q.Assignments, &coordinatorv1.MemberAssignment{MemberId: s.member(who), Assignment: s.bytes(what)})
		}
		return s.ask(label, q)
	case "beat":
		return s.ask(label, &coordinatorv1.HeartbeatGroupRequest{GroupId: group, MemberId: member, InstanceId: instance, Generation: s.number(o.one("gen"))})
	case "leave":
		q := &coordinatorv1.LeaveGroupRequest{GroupId: group}
		for _, who := range f[1:] {
			id, instance, _ := strings.Cut(who, "@")
			q.Members = append(q.Members, &coordinatorv1.LeavingMember{MemberId: s.member(id), InstanceId: instance})
		}
		return s.ask(label, q)
	case "hb":
		return s.ask(label, s.heartbeat(group, o))
	case "commit":
		q := &coordinatorv1.CommitOffsetsRequest{
			GroupId: group, MemberId: member, InstanceId: instance, Generation: s.number(o.or("gen", "-1")), Legacy: o.has("legacy"), Each: o.has("each"), Offsets: s.offsets(f[1:]),
		}
		for _, x := range q.Offsets {
			x.RetentionMs = int64(s.number(o.or("keep", "-1")))
		}
		return s.ask(label, q)
	case "txn":
		pid, epoch := s.producer(o.one("pid"))
		return s.ask(label, &coordinatorv1.CommitTransactionOffsetsRequest{
			TransactionalId: "tx", ProducerId: pid, ProducerEpoch: epoch, GroupId: group, ImplicitAdd: o.has("add"),
			MemberId: member, InstanceId: instance, Generation: s.number(o.or("gen", "-1")), Offsets: s.offsets(f[1:]),
		})
	case "fetch":
		g := &coordinatorv1.FetchGroupOffsets{GroupId: group, MemberId: member, MemberEpoch: s.number(o.or("epoch", "-1")), All: o.has("all"), Keys: s.keys(f[1:])}
		return s.ask(label, &coordinatorv1.FetchOffsetsRequest{Groups: []*coordinatorv1.FetchGroupOffsets{g}, RequireStable: o.has("stable")})
	case "forget":
		return s.ask(label, &coordinatorv1.DeleteOffsetsRequest{GroupId: group, Keys: s.keys(f[1:])})
	case "describe":
		return s.ask(label, &coordinatorv1.DescribeGroupsRequest{GroupIds: []string{group}})
	case "delete":
		return s.ask(label, &coordinatorv1.DeleteGroupsRequest{GroupIds: []string{group}})
	}
	s.t.Fatalf("what is %q?", verb)
	return ""
}

func (s *script) heartbeat(group string, o options) *coordinatorv1.HeartbeatMemberRequest {
	q := &coordinatorv1.HeartbeatMemberRequest{
		GroupId: group, MemberId: s.member(o.one("member")), MemberEpoch: s.number(o.one("epoch")), ClientId: "c", ClientHost: "h", Legacy: o.has("legacy"),
		RebalanceTimeoutMs: -1, InstanceId: o.maybe("instance"), RackId: o.maybe("rack"), ServerAssignor: o.maybe("assignor"),
		StreamId: o.maybe("stream"), TakeOver: o.has("takes-over"),
	}
	joins := q.GetMemberEpoch() == 0
	if r := o.maybe("rebalance"); r != nil {
		q.RebalanceTimeoutMs = s.number(*r)
	} else if joins {
		q.RebalanceTimeoutMs = 60_000
	}
	_, topics := o["topics"]
	if regex := o.maybe("regex"); topics || regex != nil {
		q.Subscription = &coordinatorv1.Subscription{Topics: o.list("topics"), HasTopics: topics, Regex: regex}
	}
	if _, told := o["owned"]; told || joins {
		q.Owned = &coordinatorv1.Ownership{Partitions: partitionsToProto(s.partitions(strings.Join(o.list("owned"), "+")))}
	}
	return q
}

func (s *script) ask(label string, message any) string {
	s.ticket++
	s.labels[s.ticket] = label
	var nonce [16]byte
	copy(nonce[:6], label)
	return s.step(shard.Request{Ticket: s.ticket, Message: message, Nonce: nonce})
}

// pass lets time pass, and wakes the machine whenever it wants to be.
func (s *script) pass(d time.Duration) string {
	var told strings.Builder
	for end := s.now.Add(d); ; {
		at := s.m.Deadline()
		if at.IsZero() || at.After(end) {
			s.now = end
			return told.String()
		}
		s.now = at
		if did := s.step(shard.Tick{}); did != "" {
			fmt.Fprintf(&told, "after %s: %s", d-end.Sub(s.now), did)
		}
	}
}

func (s *script) change(edit func(v *metadataclient.View)) string {
	v := *s.view
	v.Revision++
	edit(&v)
	s.view = &v
	return s.step(shard.View{View: s.view})
}

func (s *script) topic(name string, n int32) string {
	t := &metadataclient.Topic{Name: name, Partitions: make([]metadataclient.Partition, n)}
	copy(t.ID[:], name)
	if old := s.view.Topics[name]; old != nil {
		t.ID = old.ID
	}
	for t.ID[15] = 0; s.view.Deleted[t.ID] != ""; {
		t.ID[15]++
	}
	return s.change(func(v *metadataclient.View) {
		v.Topics, v.TopicsByID = maps.Clone(v.Topics), maps.Clone(v.TopicsByID)
		v.Topics[name], v.TopicsByID[t.ID] = t, t
	})
}

func (s *script) drop(name string) string {
	t := s.view.Topics[name]
	return s.change(func(v *metadataclient.View) {
		v.Topics, v.TopicsByID, v.Deleted = maps.Clone(v.Topics), maps.Clone(v.TopicsByID), maps.Clone(v.Deleted)
		delete(v.Topics, name)
		delete(v.TopicsByID, t.ID)
		v.Deleted[t.ID] = name
	})
}

// member is the id that the request of a label was given, or the label itself.
func (s *script) member(label string) string {
	var nonce [16]byte
	copy(nonce[:6], label)
	s.m.nonce = nonce
	id := s.m.newID()
	for _, g := range s.m.groups {
		var ids []string
		switch g := g.(type) {
		case *classicGroup:
			ids = slices.Concat(slices.Collect(maps.Keys(g.members)), slices.Collect(maps.Keys(g.pending)))
		case *consumerGroup:
			ids = slices.Collect(maps.Keys(g.members))
		}
		for _, x := range ids {
			if label != "" && strings.HasSuffix(x, id) {
				return x
			}
		}
	}
	return label
}

var madeUp = regexp.MustCompile(`[\w-]*?([0-9a-f]{8})-([0-9a-f]{4})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// alias puts labels in the place of the ids that were made up for them.
func (s *script) alias(text string) string {
	return madeUp.ReplaceAllStringFunc(text, func(id string) string {
		found := madeUp.FindStringSubmatch(id)
		label, err := hex.DecodeString(found[1] + found[2])
		if err != nil {
			return id
		}
		return strings.TrimRight(string(label), "\x00")
	})
}

func (s *script) number(text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		s.t.Fatal(err)
	}
	return int32(n)
}

func (s *script) producer(text string) (pid int64, epoch int32) {
	p, e, _ := strings.Cut(text, "/")
	return int64(s.number(p)), s.number(e)
}

// options are the words of a command: NAME=VALUE, or a flag.
type options map[string]string

func newOptions(words []string) options {
	o := options{}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		o[name] = value
	}
	return o
}

func (o options) one(name string) string { return o[name] }

func (o options) or(name, otherwise string) string {
	if v, set := o[name]; set {
		return v
	}
	return otherwise
}

func (o options) maybe(name string) *string {
	if v, set := o[name]; set {
		return &v
	}
	return nil
}

func (o options) has(name string) bool { _, set := o[name]; return set }

func (o options) list(name string) []string {
	if o[name] == "" {
		return nil
	}
	return strings.Split(o[name], ",")
}
