package protocol_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/rollcall-go/rollcall/protocol"
)

// A frame that arrives byte by byte is never refused and never taken too early, and then is what it would have been
// in one piece. That holds for frames with others behind them too.
func TestBinaryDecodeOfEveryPrefix(t *testing.T) {
	for name, frame := range validVectors(t) {
		t.Run(name, func(t *testing.T) {
			var whole protocol.Message
			if _, _, err := protocol.Binary.Decode(frame, &whole, protocol.DecodeOptions{}); err != nil {
				t.Fatal(err)
			}
			var m protocol.Message
			for n := range frame {
				took, need, err := protocol.Binary.Decode(frame[:n], &m, protocol.DecodeOptions{MaxBody: len(frame), MaxFrame: len(frame)})
				if took != 0 || need <= n || need > len(frame) || err != nil {
					t.Fatalf("Decode of %d of %d bytes = %d, %d, %v", n, len(frame), took, need, err)
				}
				if !reflect.DeepEqual(m, protocol.Message{}) {
					t.Fatalf("Decode of %d of %d bytes changed the message: %+v", n, len(frame), m)
				}
			}
			longer := append(bytes.Clone(frame), "Rabc"...)
			if n, _, err := protocol.Binary.Decode(longer, &m, protocol.DecodeOptions{}); n != len(frame) || err != nil {
				t.Fatalf("Decode with bytes behind the frame = %d, %v", n, err)
			}
			if !reflect.DeepEqual(m, whole) {
				t.Errorf("got %+v, want %+v", m, whole)
			}
		})
	}
}

// A reader that waits for need bytes each time reads a frame in two steps at most.
func TestBinaryNeedIsExact(t *testing.T) {
	f := raw(0x52, 0, 1, 7, 0, "alice", "bob", make([]byte, 1000))
	var m protocol.Message
	_, need, _ := protocol.Binary.Decode(nil, &m, protocol.DecodeOptions{})
	if need != protocol.HeaderLen {
		t.Fatalf("of nothing need = %d, want %d", need, protocol.HeaderLen)
	}
	if _, need, _ = protocol.Binary.Decode(f[:need], &m, protocol.DecodeOptions{}); need != len(f) {
		t.Errorf("of the header need = %d, want %d", need, len(f))
	}
}

// A length is believed only when its bytes have come: a header alone allocates nothing, whatever it announces.
func TestBinaryDecodeDoesNotAllocateByLength(t *testing.T) {
	h := header(1<<29, 255, 255)
	got := testing.AllocsPerRun(100, func() {
		var m protocol.Message
		if n, need, err := protocol.Binary.Decode(h, &m, protocol.DecodeOptions{}); n != 0 || need != protocol.HeaderLen+1<<29 || err != nil {
			t.Fatal(n, need, err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for a header", got)
	}
}

// The body is a part of the source, and an append to it must not reach the next frame.
func TestBinaryBodyAliasesSource(t *testing.T) {
	f := raw(0x52, 0, 1, 7, 0, "a", "b", text("body"))
	src := append(bytes.Clone(f), f...)
	var m protocol.Message
	if _, _, err := protocol.Binary.Decode(src, &m, protocol.DecodeOptions{}); err != nil {
		t.Fatal(err)
	}
	if &m.Body[0] != &src[len(f)-4] {
		t.Error("the body is a copy")
	}
	if cap(m.Body) != len(m.Body) {
		t.Errorf("the body's capacity is %d, its length %d", cap(m.Body), len(m.Body))
	}
	if c := m.Clone(); &c.Body[0] == &m.Body[0] || !reflect.DeepEqual(*c, m) {
		t.Errorf("Clone gives %+v of %+v", c, m)
	}
}

// An ID that the message holds already is not allocated again; another one is replaced, an empty one too.
func TestBinaryDecodeReusesIDs(t *testing.T) {
	user, dest := string([]byte("alice")), string([]byte("bob"))
	m := protocol.Message{UserID: user, DestUserID: dest, Type: 9, Flags: protocol.FlagReply, ID: 9, Device: 9, Body: text("old")}
	decode := func(f []byte) {
		t.Helper()
		if _, _, err := protocol.Binary.Decode(f, &m, protocol.DecodeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	decode(raw(0x52, 0, 1, 0, 0, "alice", "bob", nil))
	if unsafe.StringData(m.UserID) != unsafe.StringData(user) || unsafe.StringData(m.DestUserID) != unsafe.StringData(dest) {
		t.Error("equal IDs were allocated again")
	}
	if m.Type != 1 || m.Flags != 0 || m.ID != 0 || m.Device != 0 || len(m.Body) != 0 {
		t.Errorf("fields of the message before were left: %+v", m)
	}
	decode(raw(0x52, 0, 1, 0, 0, "", "carol", nil))
	if m.UserID != "" || m.DestUserID != "carol" {
		t.Errorf("the IDs are %q and %q, want none and carol", m.UserID, m.DestUserID)
	}
}

// A message that is refused for its second ID does not leave the first in the message.
func TestBinaryRefusalLeavesMessage(t *testing.T) {
	m := protocol.Message{UserID: "alice", Type: 9}
	_, _, err := protocol.Binary.Decode(raw(0x52, 0, 1, 0, 0, "mallory", "\n", nil), &m, protocol.DecodeOptions{})
	if codeOf(err) != protocol.InvalidMessage {
		t.Errorf("got %v, want InvalidMessage", err)
	}
	if !reflect.DeepEqual(m, protocol.Message{UserID: "alice", Type: 9}) {
		t.Errorf("the message became %+v", m)
	}
}

// Nothing is appended that the other side would refuse.
func TestAppendRefuses(t *testing.T) {
	for name, m := range map[string]protocol.Message{
		"type 0":                       {Type: 0},
		"unknown flag 4":               {Type: 1, Flags: 4},
		"unknown flag 8":               {Type: 1, Flags: 8 | protocol.FlagReply},
		"unknown flag 16":              {Type: 1, Flags: 16},
		"error flag alone":             {Type: 1, Flags: protocol.FlagError},
		"user ID of 256 bytes":         {Type: 1, UserID: strings.Repeat("u", 256)},
		"destination of 256 bytes":     {Type: 1, DestUserID: strings.Repeat("u", 256)},
		"user ID not UTF-8":            {Type: 1, UserID: "a\xff"},
		"destination not UTF-8":        {Type: 1, DestUserID: "\xc3"},
		"user ID with a line feed":     {Type: 1, UserID: "abcdefghijk\nlmn"},
		"destination with U+0080":      {Type: 1, DestUserID: "a\u0080"},
		"two IDs that make a rune":     {Type: 1, UserID: "a\xc3", DestUserID: "\xbc"},
		"two long IDs that do as well": {Type: 1, UserID: "aaaaaaaaaaaa\xc3", DestUserID: "\xbcbbbbbbbbbbb"},
	} {
		for codecName, c := range map[string]protocol.Codec{"Binary": protocol.Binary, "Line": protocol.Line} {
			t.Run(codecName+", "+name, func(t *testing.T) {
				dst := append(make([]byte, 0, 100), "before"...)
				got, err := c.Append(dst, &m)
				if err == nil {
					t.Fatalf("appended %q", got)
				}
				if !strings.HasPrefix(err.Error(), "rollcall: ") {
					t.Errorf("the error is %q", err)
				}
				if string(got) != "before" {
					t.Errorf("dst became %q", got)
				}
			})
		}
	}
}

// The length field has 32 bits.
func TestFrameLength(t *testing.T) {
	for _, c := range []struct {
		user, dest int
		body       uint64
		ok         bool
	}{
		{0, 0, 0, true}, {255, 255, 0, true}, {256, 0, 0, false}, {0, 256, 0, false},
		{0, 0, math.MaxUint32, true}, {0, 0, math.MaxUint32 + 1, false}, {1, 0, math.MaxUint32, false},
	} {
		if c.body > math.MaxInt {
			continue // no such body on this machine
		}
		n, ok := protocol.FrameLength(c.user, c.dest, int(c.body))
		if ok != c.ok || ok && uint64(n) != uint64(c.user)+uint64(c.dest)+c.body {
			t.Errorf("frameLength(%d, %d, %d) = %d, %v", c.user, c.dest, c.body, n, ok)
		}
	}
}

// Append writes behind the bytes of dst, into its spare capacity.
func TestBinaryAppendExtends(t *testing.T) {
	m := protocol.Message{Type: 1, UserID: "alice", Body: text("hi")}
	dst := append(make([]byte, 0, 100), "before"...)
	got, err := protocol.Binary.Append(dst, &m)
	if want := "before" + string(raw(0x52, 0, 1, 0, 0, "alice", "", text("hi"))); err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if &got[0] != &dst[0] {
		t.Error("the room was not used")
	}
	grown, err := protocol.Binary.Append([]byte("before")[:6:6], &m)
	if err != nil || !bytes.Equal(grown, got) {
		t.Errorf("without room: got %q, %v; want %q", grown, err, got)
	}
}

// The fast way to look at IDs sees what the plain one sees, for each byte at each place.
func TestValidIDIsWhatUnicodeSays(t *testing.T) {
	for n := 1; n <= 17; n++ {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte("a"), n)
				b[at] = byte(c)
				want := utf8.Valid(b) && !bytes.ContainsFunc(b, unicode.IsControl)
				if got := protocol.ValidID(b); got != want {
					t.Fatalf("validID(%q) = %v", b, got)
				}
				if c < utf8.RuneSelf && protocol.Printable(b) != want {
					t.Fatalf("printable(%q) = %v", b, !want)
				}
			}
		}
	}
}
