package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in bytes, written as a number with an optional unit: 512,
// "64KiB", "1GiB", "10MB".
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{ // longest names first, so that "MiB" is not read as "B"
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

// ParseBytes reads a size.
func ParseBytes(s string) (Bytes, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if size := n * float64(unit); err == nil && math.Abs(size) < math.MaxInt64 {
		if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
			return Bytes(whole * unit), nil // exact beyond 2^53
		}
		return Bytes(size), nil
	}
	return 0, fmt.Errorf("%q is not a size such as 512, 64KiB or 1GiB", s)
}

// String returns the size in the largest binary unit that divides it.
func (b Bytes) String() string {
	for _, u := range byteUnits[:4] {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is ParseBytes.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBytes(string(text))
	return err
}

// ParseDuration reads what time.ParseDuration reads, and days and weeks before
// it: "7d", "1w2d", "1d12h".
func ParseDuration(s string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(strings.TrimSpace(s), "-")
	var total time.Duration
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 0 || n > int64((math.MaxInt64-total)/u.size) {
			return 0, badDuration(s)
		}
		total, rest = total+time.Duration(n)*u.size, after
		if rest == "" {
			return signed(total, negative), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > math.MaxInt64-total {
		return 0, badDuration(s)
	}
	return signed(total+d, negative), nil
}

// FormatDuration returns d as ParseDuration reads it, in days where it is
// whole days, without needless zeros.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func signed(d time.Duration, negative bool) time.Duration {
	if negative {
		return -d
	}
	return d
}

func badDuration(s string) error {
	return fmt.Errorf("%q is not a duration such as 250ms, 1h30m or 7d", s)
}

// Secret is a text that no log, no print and no JSON shows.
type Secret string

const redacted = "[redacted]"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder, or nothing if the secret is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString covers %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
