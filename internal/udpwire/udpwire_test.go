package udpwire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/layout"
)

// describe tells what a datagram says, as docs/protocol.md does.
func describe(b []byte, key [KeySize]byte, challenge uint64) string {
	if !IsWhole(b) {
		return "nothing"
	}
	switch id := ID(b); b[0] {
	case Hello:
		return fmt.Sprintf("Hello %x", id)
	case Welcome:
		session, key := Session(b)
		return fmt.Sprintf("Welcome %x: session %x, key %x", id, session, key)
	case Data:
		n, _ := Look(b[DataHeader:], 0)
		return fmt.Sprintf("Data %x, number %d: %d bytes of frames", id, Sequence(b), n)
	case Challenge:
		return fmt.Sprintf("Challenge %x: %x", id, Challenged(b))
	case Response:
		if Answered(b) != Answer(key, id, challenge) {
			return "a wrong Response"
		}
		return fmt.Sprintf("Response %x, to %x with the key %x", id, challenge, key)
	case Gone:
		return fmt.Sprintf("Gone %x: %d", id, GoneCode(b))
	case Sealed:
		return describeSealed(b)
	}
	return "something else"
}

// describeSealed is describe for what is sealed with the keys of the document's secret.
func describeSealed(b []byte) string {
	var secret [SecretSize]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	names := map[byte]string{Hello: "Hello", Welcome: "Welcome", Data: "Data", Challenge: "Challenge", Response: "Response"}
	ofClient, ofServer := Keys(secret)
	for whose, key := range map[string]Key{"client": ofClient, "server": ofServer} {
		if kind, content, ok := NewCipher(key).Open(slices.Clone(b)); ok {
			return strings.TrimSpace(fmt.Sprintf("Sealed %x, the %s's number %d: %s %x", ID(b), whose, Counter(b), names[kind], content))
		}
	}
	return "sealed with another key"
}

// The bytes in docs/protocol.md are what it says.
func TestDocumentedDatagrams(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var key [KeySize]byte
	var challenge uint64
	found := 0
	for _, fence := range strings.Split(string(doc), "```udp\n")[1:] {
		body, _, _ := strings.Cut(fence, "```")
		digits, want, _ := strings.Cut(body, "=> ")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(b, key, challenge); got != strings.TrimSpace(want) {
			t.Errorf("%x is %s; the document says %s", b, got, want)
		}
		switch found++; b[0] {
		case Welcome:
			_, key = Session(b)
		case Challenge:
			challenge = Challenged(b)
		}
	}
	if found < 11 {
		t.Errorf("%d examples were found", found)
	}
}

// What is appended has the size that its kind needs, and says the same.
func TestDatagramsSayWhatWasAppended(t *testing.T) {
	key, proof, mac := [KeySize]byte{1, 2}, [ProofSize]byte{3, 4}, [MACSize]byte{5}
	frame := layout.NewHeader(7, 0, 0, 1, 0, 0, 0)
	f := make([]byte, layout.HeaderLen)
	frame.Put(f)
	const id = 0x1122334455667788
	for kind, b := range map[byte][]byte{
		Hello: AppendHello(nil, id), Cookie: AppendCookie(nil, id, proof), Logon: AppendLogon(nil, id, proof, f),
		Welcome: AppendWelcome(nil, id, 9, key, f), Data: append(AppendData(nil, id, 77), f...), Challenge: AppendChallenge(nil, id, 88),
		Response: AppendResponse(nil, id, mac), Gone: AppendGone(nil, id, 2002),
	} {
		if !IsWhole(b) || b[0] != kind || ID(b) != id {
			t.Errorf("kind %d is %x", kind, b)
		}
		switch kind {
		case Cookie, Logon:
			if Proof(b) != proof {
				t.Errorf("kind %d has the proof %x", kind, Proof(b))
			}
		case Welcome:
			if session, k := Session(b); session != 9 || k != key {
				t.Errorf("the Welcome has %d and %x", session, k)
			}
		case Data:
			if Sequence(b) != 77 {
				t.Errorf("the Data has number %d", Sequence(b))
			}
		case Response:
			if Answered(b) != mac {
				t.Errorf("the Response has %x", Answered(b))
			}
		}
	}
	if MaxSealedFrame != 1166 || SealedMore+SealedHelloSize < SealedMore+8 || MaxBody != 1171 || HelloSize < CookieSize || ChallengeSize < GoneSize {
		t.Error("a size is not what docs/protocol.md says")
	}
	for _, b := range [][]byte{nil, {Data}, {99, 98: 0}, make([]byte, HelloSize), append(AppendGone(nil, id, 1), make([]byte, MaxDatagram)...),
		AppendHello(nil, id)[:HelloSize-1], AppendLogon(nil, id, proof, nil), append(AppendCookie(nil, id, proof), 0)} {
		if IsWhole(b) {
			t.Errorf("%x counts as whole", b)
		}
	}
}

// Only the owner of the key makes what opens, and no byte of it may change.
func TestSealedDatagramsOpenWithTheirKeyAlone(t *testing.T) {
	ofClient, ofServer := Keys([SecretSize]byte{1})
	seals, opens := NewCipher(ofClient), NewCipher(ofClient)
	for size := range 40 {
		content := bytes.Repeat([]byte{7}, size)
		d := seals.AppendSealed([]byte("before"), 5, uint64(size), Data, content)[len("before"):]
		if len(d) != SealedMore+size || !IsWhole(d) || ID(d) != 5 || Counter(d) != uint64(size) {
			t.Fatalf("%x is no sealed datagram with %d bytes", d, size)
		}
		for i := range d {
			forged := bytes.Clone(d)
			forged[i]++
			if _, _, ok := opens.Open(forged); ok {
				t.Fatalf("byte %d may change", i)
			}
		}
		if _, _, ok := NewCipher(ofServer).Open(bytes.Clone(d)); ok {
			t.Fatal("it opens with the other side's key")
		}
		if kind, got, ok := opens.Open(d); !ok || kind != Data || !bytes.Equal(got, content) {
			t.Fatalf("kind %d with %x came out, want %x", kind, got, content)
		}
	}
	if _, again := Keys([SecretSize]byte{1}); again != ofServer || ofServer == ofClient {
		t.Error("the keys are not those of the secret")
	}
}

// A number of 64 bits does not wrap around where one of 32 does.
func TestCountersAreNewOnce(t *testing.T) {
	var w Window[uint64]
	for _, n := range []uint64{0, 1, 1<<32 + 5, 1<<63 - 1} {
		if isNew, _ := w.Take(n); !isNew {
			t.Errorf("%d is not new", n)
		}
		for _, old := range []uint64{n, 0} {
			if isNew, _ := w.Take(old); isNew {
				t.Errorf("%d after %d is new", old, n)
			}
		}
	}
}

// A number is new once, if it is less than 64 behind the latest. Numbers wrap around.
func TestANumberIsNewOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var w Window[uint32]
		begin := r.Uint32()
		if r.IntN(2) == 0 {
			begin = -uint32(r.IntN(100)) // wraps around soon
		}
		seen := map[int]bool{}
		latest, skippedInAll := 0, 0
		w.Take(begin)
		seen[0] = true
		for range 300 {
			n := latest + r.IntN(140) - 100
			if n < 0 {
				n = latest
			}
			isNew, skipped := w.Take(begin + uint32(n))
			if want := !seen[n] && latest-n < 64; isNew != want {
				t.Fatalf("%d after %d: new is %v, want %v", n, latest, isNew, want)
			}
			if n > latest {
				skippedInAll += n - latest - 1
				latest = n
			} else if skipped != 0 {
				t.Fatalf("%d after %d skips %d", n, latest, skipped)
			}
			if isNew {
				seen[n] = true
				skippedInAll -= int(skipped)
			}
		}
		if skippedInAll != 0 {
			t.Fatalf("what was skipped is off by %d", skippedInAll)
		}
	}
}

var from = netip.MustParseAddrPort("192.0.2.1:1000")

// A cookie is good for ten seconds, for one address, port and nonce, also where the key has changed meanwhile.
func TestCookies(t *testing.T) {
	began := time.Now()
	p, other := NewProver(began), NewProver(began)
	for at := time.Duration(0); at < 5*time.Minute; at += 7 * time.Second {
		now := began.Add(at)
		proof := p.Cookie(now, from, 7)
		for age := time.Duration(0); age <= CookieLife; age += time.Second {
			if !p.IsCookie(now.Add(age), from, 7, proof) {
				t.Fatalf("a cookie made at %v is not known after %v", at, age)
			}
		}
		now = now.Add(CookieLife)
		wrong := proof
		wrong[19]++
		renewed := proof
		binary.BigEndian.PutUint32(renewed[:], binary.BigEndian.Uint32(proof[:])+5)
		for name, ok := range map[string]bool{
			"too old":         p.IsCookie(now.Add(2*time.Second), from, 7, proof),
			"another address": p.IsCookie(now, netip.MustParseAddrPort("192.0.2.2:1000"), 7, proof),
			"another port":    p.IsCookie(now, netip.MustParseAddrPort("192.0.2.1:1001"), 7, proof),
			"another nonce":   p.IsCookie(now, from, 8, proof),
			"a wrong MAC":     p.IsCookie(now, from, 7, wrong),
			"a later time":    p.IsCookie(now, from, 7, renewed),
			"another server":  other.IsCookie(now, from, 7, proof),
		} {
			if ok {
				t.Fatalf("a cookie made at %v is good: %s", at, name)
			}
		}
	}
}

// A challenge is answered with the session's key, for the address that it was made for, until the key has changed twice.
func TestChallenges(t *testing.T) {
	now := time.Now()
	p, key := NewProver(now), [KeySize]byte{1}
	answer := Answer(key, 7, p.Challenge(now, 7, from))
	for name, ok := range map[string]bool{
		"another address": p.IsAnswer(now, 7, netip.MustParseAddrPort("192.0.2.1:1001"), key, answer),
		"another session": p.IsAnswer(now, 8, from, key, answer),
		"another key":     p.IsAnswer(now, 7, from, [KeySize]byte{2}, answer),
		"nothing":         p.IsAnswer(now, 7, from, key, [MACSize]byte{}),
	} {
		if ok {
			t.Errorf("the answer is right for %s", name)
		}
	}
	if !p.IsAnswer(now, 7, from, key, answer) || !p.IsAnswer(now.Add(time.Minute), 7, from, key, answer) || p.IsAnswer(now.Add(2*time.Minute), 7, from, key, answer) {
		t.Error("an answer is right for another time than two minutes")
	}
}

// Whatever comes, frames are whole, and no byte outside is looked at.
func FuzzFrames(f *testing.F) {
	h := make([]byte, 3*layout.HeaderLen)
	layout.NewHeader(7, 0, layout.HeaderLen, 1, 0, 0, 0).Put(h)
	f.Add(h, 40)
	f.Fuzz(func(t *testing.T, b []byte, most int) {
		IsWhole(b)
		whole, _ := Look(b, 7)
		sum := 0
		for n := FrameLen(b); n > 0; n = FrameLen(b[sum:]) {
			sum += n
		}
		fits := Fill(b, most)
		if whole != sum || whole > len(b) || fits > whole || fits > max(most, 0) {
			t.Errorf("of %d bytes %d are whole, and %d fit into %d; %d in steps", len(b), whole, fits, most, sum)
		}
	})
}

// BenchmarkSealed seals and opens a datagram, as a server does for each echo; and makes the two ciphers of a session that has had none.
func BenchmarkSealed(b *testing.B) {
	ofClient, ofServer := Keys([SecretSize]byte{1})
	for _, size := range []int{64, MaxSealedFrame} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			c, content := NewCipher(ofClient), make([]byte, size)
			d := make([]byte, 0, MaxDatagram)
			b.ReportAllocs()
			for i := range b.N {
				d = c.AppendSealed(d[:0], 1, uint64(i), Data, content)
				if _, _, ok := c.Open(d); !ok {
					b.Fatal("it does not open")
				}
			}
		})
	}
	b.Run("ciphers", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			NewCipher(ofClient)
			NewCipher(ofServer)
		}
	})
}
