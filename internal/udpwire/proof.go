package udpwire

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// Times of the proofs that an address can receive.
const (
	// CookieLife is how long a cookie may be used.
	CookieLife = 10 * time.Second
	keyLife    = time.Minute
)

// Prover makes cookies and challenges, and tells its own from others. It keeps nothing of those that it has made: it has a key, which
// changes each minute; the one before is known too. All methods may be called from any goroutine.
type Prover struct {
	began time.Time
	own   [sha256.Size]byte // the keys of sessions are made with it; it never changes

	mu      sync.Mutex
	minute  int64 // since began, of the present key
	present [sha256.Size]byte
	before  [sha256.Size]byte
}

// NewProver returns a Prover whose time begins now.
func NewProver(now time.Time) *Prover {
	p := &Prover{began: now}
	rand.Read(p.own[:])
	rand.Read(p.present[:])
	rand.Read(p.before[:])
	return p
}

// Key returns the key of a session. Who does not have the Prover cannot know it.
func (p *Prover) Key(id uint64) [KeySize]byte {
	return mac(p.own[:], binary.BigEndian.AppendUint64([]byte{Welcome}, id))
}

// keys returns the keys of this minute and of the one before.
func (p *Prover) keys(now time.Time) (minute int64, present, before [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := int64(now.Sub(p.began) / keyLife); m > p.minute {
		if p.before = p.present; m > p.minute+1 {
			rand.Read(p.before[:])
		}
		rand.Read(p.present[:])
		p.minute = m
	}
	return p.minute, p.present, p.before
}

// seconds returns the time since the Prover began.
func (p *Prover) seconds(now time.Time) uint32 { return uint32(now.Sub(p.began) / time.Second) }

// cookie returns the proof for a time.
func cookie(key [sha256.Size]byte, from netip.AddrPort, nonce uint64, seconds uint32) (proof [ProofSize]byte) {
	binary.BigEndian.PutUint32(proof[:], seconds)
	b := appendAddr([]byte{Cookie}, from)
	b = append(binary.BigEndian.AppendUint64(b, nonce), proof[:4]...)
	sum := mac(key[:], b)
	copy(proof[4:], sum[:])
	return proof
}

// appendAddr appends an address and a port, IPv4 as IPv6.
func appendAddr(dst []byte, a netip.AddrPort) []byte {
	ip := a.Addr().As16()
	return binary.BigEndian.AppendUint16(append(dst, ip[:]...), a.Port())
}

// mac returns the first half of the HMAC-SHA256.
func mac(key, b []byte) [MACSize]byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return [MACSize]byte(h.Sum(nil))
}

// Cookie returns the proof for a client that has said Hello.
func (p *Prover) Cookie(now time.Time, from netip.AddrPort, nonce uint64) [ProofSize]byte {
	_, key, _ := p.keys(now)
	return cookie(key, from, nonce, p.seconds(now))
}

// IsCookie reports whether the proof is one that was made for this client within the last CookieLife.
func (p *Prover) IsCookie(now time.Time, from netip.AddrPort, nonce uint64, proof [ProofSize]byte) bool {
	_, present, before := p.keys(now)
	seconds := binary.BigEndian.Uint32(proof[:])
	if age := p.seconds(now) - seconds; age > uint32(CookieLife/time.Second) {
		return false
	}
	for _, key := range [][sha256.Size]byte{present, before} {
		if want := cookie(key, from, nonce, seconds); hmac.Equal(want[4:], proof[4:]) {
			return true
		}
	}
	return false
}

// Challenge returns the challenge for an address that a session's datagram has come from.
func (p *Prover) Challenge(now time.Time, id uint64, from netip.AddrPort) uint64 {
	_, key, _ := p.keys(now)
	return challenge(key, id, from)
}

func challenge(key [sha256.Size]byte, id uint64, from netip.AddrPort) uint64 {
	sum := mac(key[:], appendAddr(binary.BigEndian.AppendUint64([]byte{Challenge}, id), from))
	return binary.BigEndian.Uint64(sum[:])
}

// IsChallenge reports whether a challenge is the one for an address.
func (p *Prover) IsChallenge(now time.Time, id uint64, from netip.AddrPort, c uint64) bool {
	_, present, before := p.keys(now)
	return c == challenge(present, id, from) || c == challenge(before, id, from) // the answer to it is sealed: there is nothing to time
}

// IsAnswer reports whether a Response from an address answers the challenge for it with the session's key.
func (p *Prover) IsAnswer(now time.Time, id uint64, from netip.AddrPort, session [KeySize]byte, answer [MACSize]byte) bool {
	_, present, before := p.keys(now)
	for _, key := range [][sha256.Size]byte{present, before} {
		if want := Answer(session, id, challenge(key, id, from)); hmac.Equal(want[:], answer[:]) {
			return true
		}
	}
	return false
}

// Answer returns a client's answer to a challenge.
func Answer(session [KeySize]byte, id, challenge uint64) [MACSize]byte {
	b := binary.BigEndian.AppendUint64([]byte{Response}, challenge)
	return mac(session[:], binary.BigEndian.AppendUint64(b, id))
}
