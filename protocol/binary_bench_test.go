package protocol_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// frame64 is a relayed frame of 64 bytes: the header, two IDs of 8 bytes and a body of 32.
func frame64(tb testing.TB) []byte {
	tb.Helper()
	f, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: 7, UserID: "user0001", DestUserID: "user0002",
		Body: bytes.Repeat([]byte{'x'}, 32)})
	if err != nil || len(f) != 64 {
		tb.Fatalf("frame of %d bytes, %v", len(f), err)
	}
	return f
}

func BenchmarkBinaryDecode(b *testing.B) {
	var c protocol.Codec = protocol.Binary // through the interface, as the engine calls it
	f := frame64(b)
	o := protocol.DecodeOptions{MaxBody: protocol.DefaultMaxBody}
	var m protocol.Message
	b.ReportAllocs()
	b.SetBytes(int64(len(f)))
	for b.Loop() {
		if n, _, err := c.Decode(f, &m, o); n != len(f) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkBinaryAppend(b *testing.B) {
	var c protocol.Codec = protocol.Binary
	f := frame64(b)
	var m protocol.Message
	if _, _, err := c.Decode(f, &m, protocol.DecodeOptions{}); err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 128)
	b.ReportAllocs()
	b.SetBytes(int64(len(f)))
	for b.Loop() {
		var err error
		if dst, err = c.Append(dst[:0], &m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBinaryDecodeNewUser is the worst case: each frame has another destination than the one before.
func BenchmarkBinaryDecodeNewUser(b *testing.B) {
	var frames [2][]byte
	for i := range frames {
		f, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, UserID: "alice", DestUserID: fmt.Sprintf("user%04d", i)})
		if err != nil {
			b.Fatal(err)
		}
		frames[i] = f
	}
	var m protocol.Message
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i ^= 1
		if _, _, err := protocol.Binary.Decode(frames[i], &m, protocol.DecodeOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLineDecode(b *testing.B) {
	line := []byte("@bob /1:7 hello, how are you today?\n")
	var m protocol.Message
	b.ReportAllocs()
	for b.Loop() {
		if n, _, err := protocol.Line.Decode(line, &m, protocol.DecodeOptions{MaxBody: protocol.DefaultMaxBody}); n != len(line) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// The message path allocates nothing: a frame with the IDs of the one before, decoded and relayed.
func TestBinaryAllocatesNothing(t *testing.T) {
	var c protocol.Codec = protocol.Binary
	f := frame64(t)
	var m protocol.Message
	if _, _, err := c.Decode(f, &m, protocol.DecodeOptions{}); err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, len(f))
	got := testing.AllocsPerRun(1000, func() {
		if _, _, err := c.Decode(f, &m, protocol.DecodeOptions{MaxBody: protocol.DefaultMaxBody}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Append(dst, &m); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("Decode and Append of a 64-byte frame: %v allocations, want 0", got)
	}
}

// No ID is read twice: one that the message holds already is the same string afterwards.
func TestLineDecodeAllocatesNothing(t *testing.T) {
	var c protocol.Codec = protocol.Line
	line := []byte("@bob /1:7 hello\r\n")
	var m protocol.Message
	decode := func() {
		if _, _, err := c.Decode(line, &m, protocol.DecodeOptions{MaxBody: protocol.DefaultMaxBody}); err != nil {
			t.Fatal(err)
		}
	}
	decode()
	if got := testing.AllocsPerRun(1000, decode); got != 0 {
		t.Errorf("Decode of a line: %v allocations, want 0", got)
	}
}
