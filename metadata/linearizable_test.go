package metadata

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/metadata/store"
	"moldau.dev/metadata/store/storetest"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

type topicCall struct {
	topic, verb, value string // verb: create, alter, delete
}

// topicModel is one register per topic name: "" where there is none, else its
// retention.ms. The output is "ok", "refused" or, of a lost answer, "unknown".
var topicModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byTopic := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(topicCall).topic
			byTopic[name] = append(byTopic[name], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byTopic {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		call, was := input.(topicCall), state.(string)
		possible := (call.verb == "create") == (was == "")
		switch {
		case output == "refused" && !possible:
			return []any{was}
		case output == "ok" && possible:
			return []any{call.value}
		case output == "unknown" && possible:
			return []any{was, call.value}
		case output == "unknown":
			return []any{was}
		}
		return nil
	},
}

// TestTopicsAreLinearizable (invariant 15): clients race for two names while
// answers of the store are lost and controllers deposed.
func TestTopicsAreLinearizable(t *testing.T) {
	memory := store.NewMemory()
	faulty := storetest.Wrap(memory)
	c := local(t, serve(t, inMemory(), Deps{Store: faulty}), metadataclient.Options{})
	join(t, c, 0)

	var mu sync.Mutex
	var history []porcupine.Operation
	clk := clock.Real()
	began := clk.Now()
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(client)))
			for i := range 50 {
				in := topicCall{topic: fmt.Sprintf("t%d", random.IntN(2)), verb: []string{"create", "alter", "delete"}[random.IntN(3)]}
				if in.verb != "delete" {
					in.value = fmt.Sprint(1 + client*100 + i)
				}
				if client == 0 && i%8 == 7 {
					faulty.Next(storetest.Fault(1 + random.IntN(2)))
					storetest.Depose(t, memory)
				}
				op := porcupine.Operation{ClientId: client, Input: in, Call: int64(clk.Since(began))}
				op.Output, op.Return = call(t, c, in), int64(clk.Since(began))
				if op.Output == "unknown" {
					op.Return = math.MaxInt64 // it may yet happen
					op.ClientId = 1000 + client*100 + i
				}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	ok := 0
	for _, op := range history {
		if op.Output == "ok" {
			ok++
		}
	}
	if ok < 10 {
		t.Fatalf("only %d calls succeeded", ok)
	}
	if result := porcupine.CheckOperationsTimeout(topicModel.ToModel(), history, 20*time.Second); result != porcupine.Ok {
		t.Fatalf("history of %d calls: %v", len(history), result)
	}
}

func call(t *testing.T, c metadataclient.Client, in topicCall) string {
	var err error
	revision := c.View().Revision // the next term's is higher
	configs := map[string]string{"retention.ms": in.value}
	switch in.verb {
	case "create":
		_, err = c.CreateTopic(within(t), &metadatav1.CreateTopicRequest{Name: in.topic, Configs: configs})
	case "alter":
		_, err = c.AlterTopic(within(t), &metadatav1.AlterTopicRequest{Name: in.topic, Set: configs})
	case "delete":
		_, err = c.DeleteTopic(within(t), &metadatav1.DeleteTopicRequest{Name: in.topic})
	}
	switch errcode.ReasonOf(err) {
	case "":
		return "ok"
	case errcode.TopicAlreadyExists, errcode.UnknownTopic:
		return "refused"
	case errcode.ControllerUnavailable: // nobody led, so nothing happened
		_ = c.WaitRevision(within(t), revision+1)
		return call(t, c, in)
	}
	return "unknown"
}
