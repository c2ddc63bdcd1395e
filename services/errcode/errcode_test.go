package errcode

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func TestEveryReasonRoundTripsThroughAStatus(t *testing.T) {
	for _, row := range Table() {
		sent := New(row.Reason, "about %s", row.Reason).
			WithField("topic.name").WithHint("try this").WithRetryAfter(3*time.Second).
			With("leader", 4).With("leader_epoch", 9)
		st := ToStatus(fmt.Errorf("append: %w", sent))
		if st.Code() != row.GRPC {
			t.Errorf("%s: code %s, want %s", row.Reason, st.Code(), row.GRPC)
		}
		got := Of(fmt.Errorf("far end: %w", st.Err()))
		if diff := cmp.Diff(sent, got, cmpopts.IgnoreUnexported(Error{})); diff != "" {
			t.Errorf("%s came back changed (-sent +got):\n%s", row.Reason, diff)
		}
	}
}

func TestEveryRowIsWholeAndUnique(t *testing.T) {
	seen := map[Reason]bool{}
	for _, row := range Table() {
		if seen[row.Reason] {
			t.Errorf("%s is in the table twice", row.Reason)
		}
		seen[row.Reason] = true
		if row.GRPC == codes.OK || row.HTTP < 400 || row.Kafka == 0 || !strings.HasSuffix(row.Hint, ".") {
			t.Errorf("%s has a face that says success or nothing: %+v", row.Reason, row)
		}
	}
}

func TestKafkaCodesAreNamedAsInKafka(t *testing.T) {
	for _, row := range Table() {
		if got := kerr.TypedErrorForCode(row.Kafka); got.Message != row.KafkaName {
			t.Errorf("%s: Kafka's code %d is %s, the table says %s", row.Reason, row.Kafka, got.Message, row.KafkaName)
		}
	}
}

func TestEveryPublicReasonIsInTheTable(t *testing.T) {
	for number, name := range moldauv1.ErrorReason_name {
		if number == 0 {
			continue
		}
		if _, ok := ParseReason(name); !ok {
			t.Errorf("%s has no row", name)
		}
	}
}

func TestUnknownErrorsKeepTheirTextInside(t *testing.T) {
	secret := errors.New("open /var/lib/secret: denied")
	for _, err := range []error{
		secret, Wrap(secret, StorageError, "read failed"), status.Error(codes.Unknown, secret.Error()),
	} {
		if msg := ToStatus(err).Message(); strings.Contains(msg, "secret") {
			t.Errorf("%v leaks as %q", err, msg)
		}
		if !strings.Contains(Of(err).Error(), "secret") {
			t.Errorf("%v lost its cause for the log", err)
		}
	}
	if got := ToStatus(secret).Code(); got != codes.Internal {
		t.Errorf("code %s, want Internal", got)
	}
}

func TestForeignErrorsGetTheNearestReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Reason
	}{
		{fmt.Errorf("fetch: %w", context.DeadlineExceeded), RequestTimedOut},
		{context.Canceled, Canceled},
		{status.Error(codes.Unavailable, "connection refused"), NodeUnavailable},
		{status.Error(codes.DeadlineExceeded, ""), RequestTimedOut},
		{status.Error(codes.Unimplemented, ""), Unimplemented},
		{errors.New("?"), Internal},
		{nil, ""},
	} {
		if got := ReasonOf(c.err); got != c.want {
			t.Errorf("%v: reason %s, want %s", c.err, got, c.want)
		}
	}
}

func TestCopiesDoNotShareMetadata(t *testing.T) {
	base := New(NotLeader, "not here").With("leader", 1)
	_ = base.With("leader", 2)
	if base.Metadata["leader"] != "1" {
		t.Fatal("With changed the error it was called on")
	}
	if !errors.Is(base, New(NotLeader, "")) || errors.Is(base, New(Internal, "")) {
		t.Fatal("errors.Is does not go by reason")
	}
}
