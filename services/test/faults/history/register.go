package history

import (
	"math"

	"github.com/anishathalye/porcupine"
)

// linearizable asks whether the operations on one register fit into one order.
func linearizable(ops []OffsetOp) bool {
	var list []porcupine.Operation
	for i, op := range ops {
		if op.Outcome == Failed || !op.Commit && op.Outcome != OK {
			continue
		}
		end := op.Complete
		if op.Outcome == Unknown {
			end = math.MaxInt64
		}
		list = append(list, porcupine.Operation{ClientId: i, Input: op, Output: op.Offset, Call: op.Invoke, Return: end})
	}
	return porcupine.CheckOperations(register, list)
}

var register = porcupine.Model{
	Init: func() any { return int64(NoOffset) },
	Step: func(state, input, output any) (bool, any) {
		op := input.(OffsetOp)
		if op.Commit {
			return true, op.Offset
		}
		return state.(int64) == output.(int64), state
	},
}
