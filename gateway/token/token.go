// Package token signs what clients carry from one gateway to another, so that
// nothing of it must be kept in a gateway's memory. gateway/native makes the
// tokens; clients give them back as they are, to any gateway of the cluster.
//
// Invariant: what Open returns was given to Sign by a gateway with the same
// secret, for the same cluster and purpose.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"moldau.dev/services/errcode"
)

// MaxBytes bounds a token, before anything of it is read.
const MaxBytes = 1 << 20

// macBytes of SHA-256 are what a token carries: 128 bits.
const macBytes = 16

var encoding = base64.RawURLEncoding.Strict()

// Signer signs tokens, and opens its own. It is safe for concurrent use.
type Signer struct{ secrets []string }

// NewSigner returns a signer that signs with secret, which all gateways of a
// cluster share, and also opens what was signed with those before it. An empty
// secret leaves the cluster's id as the only key: that tells a damaged token and
// another cluster's from a good one, and does not keep out who forges one.
func NewSigner(secret string, before ...string) *Signer {
	return &Signer{secrets: append([]string{secret}, before...)}
}

// Sign returns a token with a payload, which is not hidden: URL-safe text, a
// third longer than the payload.
func (s *Signer) Sign(cluster, purpose string, payload []byte) string {
	return encoding.EncodeToString(payload) + "." + encoding.EncodeToString(mac(s.secrets[0], cluster, purpose, payload))
}

// Open returns the payload of a token, or INVALID_TOKEN.
func (s *Signer) Open(cluster, purpose, token string) ([]byte, error) {
	refused := errcode.New(errcode.InvalidToken, "the token is not one that this cluster gave for this")
	if len(token) > MaxBytes || strings.ContainsAny(token, "\r\n") { // which base64 passes over
		return nil, refused
	}
	first, second, _ := strings.Cut(token, ".")
	payload, bad := encoding.DecodeString(first)
	signed, worse := encoding.DecodeString(second)
	if bad != nil || worse != nil {
		return nil, refused
	}
	for _, secret := range s.secrets {
		if hmac.Equal(signed, mac(secret, cluster, purpose, payload)) {
			return payload, nil
		}
	}
	return nil, refused
}

func mac(secret, cluster, purpose string, payload []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	for _, part := range []string{cluster, purpose} {
		_, _ = h.Write([]byte(part + "\x00")) // never fails; neither holds a zero
	}
	_, _ = h.Write(payload)
	return h.Sum(nil)[:macBytes]
}
