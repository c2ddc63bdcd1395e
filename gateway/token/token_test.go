package token_test

import (
	"bytes"
	"strings"
	"testing"

	"moldau.dev/gateway/token"
	"moldau.dev/services/errcode"
)

func TestAnyGatewayOfTheClusterOpensAToken(t *testing.T) {
	signed := token.NewSigner("s").Sign("c", "consume", []byte("payload"))
	for _, other := range []*token.Signer{token.NewSigner("s"), token.NewSigner("newer", "s")} {
		if got, err := other.Open("c", "consume", signed); err != nil || string(got) != "payload" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestWhatWasNotGivenIsRefused(t *testing.T) {
	s := token.NewSigner("s")
	good := s.Sign("c", "consume", []byte("payload"))
	first, second, _ := strings.Cut(good, ".")
	for name, bad := range map[string]struct{ cluster, purpose, token string }{
		"nothing":              {"c", "consume", ""},
		"a point":              {"c", "consume", "."},
		"no signature":         {"c", "consume", first + "."},
		"half a signature":     {"c", "consume", first + "." + second[:8]},
		"another payload":      {"c", "consume", "cGF5bG9hZFg." + second},
		"no payload":           {"c", "consume", "." + second},
		"another purpose":      {"c", "page", good},
		"another cluster":      {"d", "consume", good},
		"another secret":       {"c", "consume", token.NewSigner("x").Sign("c", "consume", []byte("payload"))},
		"no secret":            {"c", "consume", token.NewSigner("").Sign("c", "consume", []byte("payload"))},
		"padding":              {"c", "consume", first + "=." + second},
		"a third part":         {"c", "consume", good + ".x"},
		"a line end":           {"c", "consume", good + "\n"},
		"much":                 {"c", "consume", strings.Repeat("A", token.MaxBytes) + "." + second},
		"not of base64":        {"c", "consume", "é." + second},
		"the secret, rotated":  {"c", "consume", token.NewSigner("newer", "s").Sign("c", "consume", []byte("payload"))},
		"the purpose as a key": {"cconsume", "", good},
	} {
		if got, err := s.Open(bad.cluster, bad.purpose, bad.token); !errcode.Is(err, errcode.InvalidToken) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := token.NewSigner("s")
	f.Add(s.Sign("c", "p", []byte("payload")))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		payload, err := s.Open("c", "p", text)
		if err == nil && s.Sign("c", "p", payload) != text {
			t.Errorf("%q opens, and is not what is signed", text)
		}
		if err != nil && !bytes.Equal(payload, nil) {
			t.Error("a payload beside an error")
		}
	})
}
