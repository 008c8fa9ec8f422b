package wsframe

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// row is a stream of bytes, and what a Reader is to find in it.
type row struct {
	name    string // the number of the case of the Autobahn test suite for which it stands, and what it is about
	text    bool   // Reader.Text
	raw     string
	payload string
	found   Found  // LineFeed means nothing here: the line feed is in payload
	err     uint16 // the code of the Error; 0 for none
	open    bool   // the peer owes bytes at the end
	fed     int    // byte by byte, how many are read before the error; 0: not looked at
}

// side makes the frames of a client or of a server.
type side struct {
	server bool
	line   string // what ends a text message that has no line feed
	header int    // the size of the header of a short frame
	mask   uint32
}

var sides = []*side{{line: "\n", header: 6, mask: 0x5AC317E9}, {server: true, header: 2}}

func (s *side) String() string {
	if s.server {
		return "server"
	}
	return "client"
}

// frame returns a frame. Each of a client has another mask.
func (s *side) frame(op byte, last bool, payload string) string {
	if s.server {
		return string(AppendHeader(nil, op, last, len(payload))) + payload
	}
	s.mask = s.mask*1664525 + 1013904223
	b := AppendMasked(nil, op, []byte(payload), s.mask)
	if !last {
		b[0] &^= fin
	}
	return string(b)
}

// message returns a message of one frame; the Reader's Text is to be text.
func (s *side) message(text bool, payload string) string { return s.frame(opOf(text), true, payload) }

// parts returns a message of fragments.
func (s *side) parts(text bool, payloads ...string) string {
	return s.begun(text, payloads[:len(payloads)-1]...) + s.frame(Continuation, true, payloads[len(payloads)-1])
}

// begun returns the first fragments of a message that goes on.
func (s *side) begun(text bool, payloads ...string) string {
	var b strings.Builder
	op := opOf(text)
	for _, p := range payloads {
		b.WriteString(s.frame(op, false, p))
		op = Continuation
	}
	return b.String()
}

func (s *side) ping(payload string) string { return s.frame(Ping, true, payload) }
func (s *side) pong(payload string) string { return s.frame(Pong, true, payload) }
func (s *side) close(code uint16, reason string) string {
	return s.frame(Close, true, string([]byte{byte(code >> 8), byte(code)})+reason)
}

// controls returns a Found with control frames of these sizes.
func (s *side) controls(sizes ...int) (f Found) {
	for _, n := range sizes {
		f.Controls++
		f.Size += s.header + n
	}
	return f
}

// pinged is controls, with the latest Ping.
func (s *side) pinged(payload string, sizes ...int) Found {
	f := s.controls(sizes...)
	f.Ping = []byte(payload)
	return f
}

// closed is controls, with a Close.
func (s *side) closed(code uint16, reason string, sizes ...int) Found {
	f := s.controls(sizes...)
	f.Closed, f.Code, f.Reason = true, code, reason
	return f
}

func opOf(text bool) byte {
	if text {
		return Text
	}
	return Binary
}

// opName names the kind of messages, for the names of rows.
func opName(text bool) string {
	if text {
		return "text"
	}
	return "binary"
}

// allRows returns the rows for one side.
func allRows(s *side) []row {
	return slices.Concat(lengthRows(s), pingRows(s), reservedRows(s), fragmentRows(s), maskRows(s), utf8Rows(s), lineRows(s),
		closeRows(s), largeRows(s))
}

// outcome is what came of a stream of bytes.
type outcome struct {
	payload string
	found   Found
	err     *Error
	open    bool
	rest    string // not used, where there was no mistake and no Close
	fed     int    // bytes
}

// feed has a Reader unwrap pieces as they come. Bytes that it has not used come again with the next piece.
func feed(t testing.TB, r Reader, pieces ...[]byte) (o outcome) {
	t.Helper()
	var raw, before, payload []byte
	var f Found
	for _, piece := range pieces {
		raw = append(raw, piece...)
		before = append(before[:0], raw...)
		o.fed += len(piece)
		f.Reset()
		n, used, err := r.Unwrap(raw, &f)
		if n < 0 || n > used || used > len(raw) {
			t.Fatalf("Unwrap returned %d of %d used of %d", n, used, len(raw))
		}
		if !bytes.Equal(raw[used:], before[used:]) {
			t.Fatalf("bytes that were not used have changed: % x, were % x", raw[used:], before[used:])
		}
		payload = append(payload, raw[:n]...)
		if f.LineFeed {
			payload = append(payload, '\n')
		}
		o.found.Controls += f.Controls
		o.found.Size += f.Size
		o.found.Hollow += f.Hollow
		o.found.Closed, o.found.Code, o.found.Reason = f.Closed, f.Code, f.Reason
		if f.Ping != nil {
			o.found.Ping = bytes.Clone(f.Ping)
		}
		if o.err = err; err != nil || f.Closed {
			break
		}
		raw = raw[:copy(raw, raw[used:])]
	}
	o.payload, o.open = string(payload), r.MidMessage() || len(raw) > 0
	if o.err == nil && !f.Closed {
		o.rest = string(raw)
	}
	return o
}

// bytewise cuts everywhere.
func bytewise(raw []byte) (pieces [][]byte) {
	for i := range raw {
		pieces = append(pieces, raw[i:i+1])
	}
	return pieces
}

// difference says in what two outcomes differ, or "". They may be fed a different number of bytes.
func difference(got, want outcome) string {
	switch g, w := got.found, want.found; {
	case got.payload != want.payload:
		return fmt.Sprintf("the payload is %.80q of %d bytes, want %.80q of %d", got.payload, len(got.payload), want.payload, len(want.payload))
	case got.err != want.err:
		return fmt.Sprintf("the mistake is %v, want %v", got.err, want.err)
	case (g.Ping == nil) != (w.Ping == nil), !bytes.Equal(g.Ping, w.Ping):
		return fmt.Sprintf("the Ping is %q, want %q", g.Ping, w.Ping)
	case g.Controls != w.Controls, g.Size != w.Size, g.Hollow != w.Hollow:
		return fmt.Sprintf("%d control frames of %d bytes, hollow %d, want %d of %d, %d", g.Controls, g.Size, g.Hollow, w.Controls, w.Size, w.Hollow)
	case g.Closed != w.Closed, g.Code != w.Code, g.Reason != w.Reason:
		return fmt.Sprintf("Close %v %d %q, want %v %d %q", g.Closed, g.Code, g.Reason, w.Closed, w.Code, w.Reason)
	case got.rest != want.rest:
		return fmt.Sprintf("%q are left, want %q", got.rest, want.rest)
	case got.open != want.open:
		return fmt.Sprintf("bytes are owed: %v, want %v", got.open, want.open)
	}
	return ""
}

// cuts returns where to cut so many bytes in two: everywhere, or where they are many, near the ends and here and there.
func cuts(size int) (at []int) {
	const many, ends, between = 300, 20, 8
	for i := 1; i < size; i++ {
		if size <= many || i < ends || i > size-ends || i%(size/between) == 0 {
			at = append(at, i)
		}
	}
	return at
}

// RFC 6455 section 5: each row is read as it is to be, uncut, cut in two anywhere, and byte by byte. There are some
// 550 of them for each side.
func TestRows(t *testing.T) {
	for _, s := range sides {
		rows := allRows(s)
		if len(rows) < 500 {
			t.Errorf("there are %d rows for the %v", len(rows), s)
		}
		for _, row := range rows {
			t.Run(s.String()+" "+row.name, func(t *testing.T) { row.check(t, s) })
		}
	}
}

func (row *row) check(t *testing.T, s *side) {
	r, raw := Reader{Text: row.text, FromServer: s.server}, []byte(row.raw)
	whole := feed(t, r, bytes.Clone(raw))
	want := outcome{payload: row.payload, found: row.found, err: whole.err, rest: whole.rest, open: row.open}
	if row.err != 0 || row.found.Closed {
		want.open = whole.open // means nothing any more
	}
	if d := difference(whole, want); d != "" {
		t.Error(d)
	}
	if code := codeOf(whole.err); code != row.err {
		t.Errorf("the mistake is %v, of code %d, want %d", whole.err, code, row.err)
	}
	if whole.err != nil && whole.err.Error() == "" {
		t.Error("the mistake has no text")
	}
	whole.open = whole.open && whole.err == nil && !whole.found.Closed
	same := func(got outcome, how string) {
		t.Helper()
		got.open = got.open && got.err == nil && !got.found.Closed
		if d := difference(got, whole); d != "" {
			t.Errorf("%s: %s", how, d)
		}
	}
	for _, at := range cuts(len(raw)) {
		same(feed(t, r, raw[:at:at], raw[at:]), fmt.Sprintf("cut at %d", at))
	}
	single := feed(t, r, bytewise(raw)...)
	same(single, "byte by byte")
	if row.fed > 0 && single.fed != row.fed {
		t.Errorf("the mistake was seen at byte %d, want %d", single.fed, row.fed)
	}
}

func codeOf(err *Error) uint16 {
	if err == nil {
		return 0
	}
	return err.Code
}

// RFC 6455 sections 5.2 and 5.3: what AppendMasked, AppendHeader and AppendClose make is read as what it was made of, however
// it is cut.
func TestFramesMadeHereAreRead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		server := rnd.IntN(2) == 0
		s := &side{server: server, header: 6, mask: rnd.Uint32()}
		if server {
			s.header = 2
		}
		var raw []byte
		var want outcome
		for range 1 + rnd.IntN(5) {
			payload := make([]byte, rnd.IntN(200))
			if rnd.IntN(8) == 0 {
				payload = make([]byte, 65530+rnd.IntN(12))
			}
			for i := range payload {
				payload[i] = byte(rnd.Uint32())
			}
			fragments := 1 + rnd.IntN(3)
			op := byte(Binary)
			want.payload += string(payload)
			for i := range fragments {
				b := s.frame(op, i == fragments-1, string(payload[len(payload)*i/fragments:len(payload)*(i+1)/fragments]))
				if len(b) == s.header {
					want.found.Hollow += len(b)
				}
				raw = append(raw, b...)
				op = Continuation
			}
		}
		code, reason := uint16(FirstApplication+rnd.IntN(2000)), strings.Repeat("é", rnd.IntN(80))
		body := AppendClose(nil, code, reason)
		raw = append(raw, s.frame(Close, true, string(body))...)
		want.found.Controls, want.found.Size, want.found.Closed = 1, s.header+len(body), true
		want.found.Code, want.found.Reason = code, string(body[2:])
		if !strings.HasPrefix(reason, want.found.Reason) || len(body) > MaxControl || len(want.found.Reason) < min(len(reason), MaxControl-3) {
			t.Fatalf("of the reason %q there is %q", reason, want.found.Reason)
		}
		got := feed(t, Reader{FromServer: server}, randomly(rnd, raw)...)
		got.open = false
		if d := difference(got, want); d != "" {
			t.Fatal(d)
		}
	}
}

// randomly cuts in some places.
func randomly(rnd *rand.Rand, raw []byte) (pieces [][]byte) {
	for len(raw) > 0 {
		n := min(1+rnd.IntN(len(raw)*2), len(raw))
		pieces = append(pieces, raw[:n:n])
		raw = raw[n:]
	}
	return pieces
}

// RFC 6455 section 5.5.1: a reason is UTF-8, whatever it is made of, and is cut between characters.
func TestReasonsAreUTF8(t *testing.T) {
	for reason, want := range map[string]string{
		"":                                "",
		"bye":                             "bye",
		"a\xFFb":                          "a\uFFFDb",
		"\xC3":                            "\uFFFD",
		strings.Repeat("x", 123):          strings.Repeat("x", 123),
		strings.Repeat("x", 124):          strings.Repeat("x", 123),
		strings.Repeat("x", 122) + "é":    strings.Repeat("x", 122),
		strings.Repeat("€", 42):           strings.Repeat("€", 41),
		strings.Repeat("x", 121) + "\xFF": strings.Repeat("x", 121),
	} {
		if got := string(AppendClose([]byte("before"), 4000, reason)); got != "before\x0F\xA0"+want {
			t.Errorf("the reason %q became %q", reason, got)
		}
	}
}

// Unwrap takes no memory.
func TestUnwrapAllocatesNothing(t *testing.T) {
	for _, s := range sides {
		for _, text := range []bool{false, true} {
			raw := []byte(s.message(text, "a message") + s.ping("are you there?") + s.parts(text, "one, ", "two, é") + s.pong("") +
				s.message(text, strings.Repeat("long", 500)))
			buf := make([]byte, len(raw))
			r := Reader{Text: text, FromServer: s.server}
			var f Found
			if got := testing.AllocsPerRun(200, func() {
				copy(buf, raw)
				f.Reset()
				if _, used, err := r.Unwrap(buf, &f); err != nil || used != len(raw) {
					t.Fatal(used, err)
				}
			}); got != 0 {
				t.Errorf("frames of the %v, %s: %v allocations, want 0", s, opName(text), got)
			}
		}
	}
	dst := make([]byte, 0, 4096)
	if got := testing.AllocsPerRun(200, func() {
		dst = append(AppendHeader(dst[:0], Binary, true, 70000), "x"...)
		dst = AppendMasked(dst, Text, dst, 0x01020304)
		dst = AppendClose(dst, Normal, "2002 KickedOut: enough")
	}); got != 0 {
		t.Errorf("making frames: %v allocations, want 0", got)
	}
}

// Bytes that are cut anywhere have the same payload, mistake and control frames as when they come at once, and bytes that were
// not used never change.
func FuzzUnwrap(f *testing.F) {
	for _, s := range sides {
		for _, row := range allRows(s) {
			if len(row.raw) < 1000 {
				f.Add([]byte(row.raw), uint64(0x123456789), row.text, s.server)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, seed uint64, text, server bool) {
		r := Reader{Text: text, FromServer: server}
		whole := feed(t, r, bytes.Clone(src))
		rnd := rand.New(rand.NewPCG(seed, 0))
		for _, pieces := range [][][]byte{bytewise(src), randomly(rnd, src)} {
			got := feed(t, r, pieces...)
			if got.err != nil || got.found.Closed {
				got.open = whole.open
			}
			if d := difference(got, whole); d != "" {
				t.Fatal(d)
			}
		}
		if limit := len(src) + 1; len(whole.payload) > limit {
			t.Fatalf("%d bytes became %d", len(src), len(whole.payload))
		}
	})
}
