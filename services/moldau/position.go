package main

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/config"
)

// parsePosition reads what --from takes: start, end, an offset, -N for N
// records before the end, or @TIME (RFC 3339, milliseconds since 1970, or
// relative to now, such as @-1h).
func parsePosition(s string, now time.Time) (*moldauv1.Position, error) {
	switch s {
	case "start":
		return &moldauv1.Position{At: &moldauv1.Position_Start{Start: true}}, nil
	case "end":
		return &moldauv1.Position{At: &moldauv1.Position_End{End: true}}, nil
	}
	if at, ok := strings.CutPrefix(s, "@"); ok {
		t, err := parseTime(at, now)
		if err != nil {
			return nil, err
		}
		return &moldauv1.Position{At: &moldauv1.Position_Time{Time: timestamppb.New(t)}}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s == "-0" {
		return nil, usagef("--from %s: not start, end, OFFSET, -N or @TIME", s)
	}
	if n < 0 {
		return &moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: -n}}, nil
	}
	return &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: n}}, nil
}

func parseTime(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms >= 0 {
		return time.UnixMilli(ms), nil
	}
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		if d, err := config.ParseDuration(strings.TrimPrefix(s, "+")); err == nil {
			return now.Add(d), nil
		}
	}
	return time.Time{}, usagef("--from @%s: not RFC 3339, milliseconds since 1970, or relative such as @-1h", s)
}
