package protocol_test

import (
	"bytes"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// checkSplit holds a codec's promise about bytes that come in two parts: of the first part, at bytes long, there is
// an unfinished message, the same error as of the whole, or the same message.
func checkSplit(t *testing.T, c protocol.Codec, src []byte, at int, o protocol.DecodeOptions) {
	t.Helper()
	var whole, part protocol.Message
	wantN, wantNeed, wantErr := c.Decode(src, &whole, o)
	n, need, err := c.Decode(src[:at], &part, o)
	switch {
	case err != nil:
		if n != 0 || codeOf(err) == 0 || codeOf(err) != codeOf(wantErr) {
			t.Fatalf("of %d bytes: %d, %v; of all: %v", at, n, err, wantErr)
		}
	case n > 0:
		if n > at || n != wantN || wantErr != nil || !sameMessage(&part, &whole) {
			t.Fatalf("of %d bytes: %d, %+v; of all: %d, %+v, %v", at, n, part, wantN, whole, wantErr)
		}
	default:
		if need <= at || wantN > 0 && need > wantN {
			t.Fatalf("of %d bytes: need %d; of all: %d, %d, %v", at, need, wantN, wantNeed, wantErr)
		}
		if !sameMessage(&part, &protocol.Message{}) {
			t.Fatalf("of %d bytes: an unfinished message changed m to %+v", at, part)
		}
	}
	if wantErr != nil && !sameMessage(&whole, &protocol.Message{}) {
		t.Fatalf("a refused message changed m to %+v", whole)
	}
}

func FuzzBinaryDecode(f *testing.F) {
	for _, v := range readVectors(f) {
		frame := bytesOf(f, v.Hex)
		f.Add(frame, uint(len(frame)/2), v.MaxBody, v.MaxFrame)
	}
	f.Fuzz(func(t *testing.T, src []byte, at uint, maxBody, maxFrame int) {
		o := protocol.DecodeOptions{MaxBody: maxBody, MaxFrame: maxFrame}
		checkSplit(t, protocol.Binary, src, int(at%uint(len(src)+1)), o)

		var m protocol.Message
		n, need, err := protocol.Binary.Decode(src, &m, o)
		if err != nil || n == 0 {
			if n != 0 || err == nil && need <= len(src) || err != nil && codeOf(err) == 0 {
				t.Fatalf("Decode = %d, %d, %v", n, need, err)
			}
			return
		}
		if n > len(src) || maxFrame > 0 && n > maxFrame || maxBody > 0 && len(m.Body) > maxBody {
			t.Fatalf("Decode = %d of %d bytes, a body of %d", n, len(src), len(m.Body))
		}
		if again, err := protocol.Binary.Append(nil, &m); err != nil || !bytes.Equal(again, src[:n]) {
			t.Fatalf("%x became %x, %v", src[:n], again, err)
		}
	})
}

func FuzzLineDecode(f *testing.F) {
	for _, c := range lineCases {
		f.Add([]byte(c.line+"\r\nx"), uint(len(c.line)), false, 0, 0)
	}
	f.Add([]byte("alice\ttoken=secret\n"), uint(6), true, 100, 0)
	f.Add([]byte("ali\xc3\xa9\r\r\n"), uint(4), true, 0, 7)
	f.Add([]byte("R\x10\xff\x01"), uint(1), true, 0, 0)
	f.Fuzz(func(t *testing.T, src []byte, at uint, first bool, maxBody, maxFrame int) {
		o := protocol.DecodeOptions{First: first, MaxBody: maxBody, MaxFrame: maxFrame}
		checkSplit(t, protocol.Line, src, int(at%uint(len(src)+1)), o)

		before := bytes.Clone(src)
		var m protocol.Message
		n, need, err := protocol.Line.Decode(src, &m, o)
		if !bytes.Equal(src, before) {
			t.Fatal("the source was written to")
		}
		if err != nil || n == 0 {
			if n != 0 || err == nil && need != len(src)+1 || err != nil && codeOf(err) == 0 {
				t.Fatalf("Decode = %d, %d, %v", n, need, err)
			}
			return
		}
		if n > len(src) || src[n-1] != '\n' || maxFrame > 0 && n > maxFrame || maxBody > 0 && len(m.Body) > maxBody {
			t.Fatalf("Decode = %d of %d bytes, a body of %d", n, len(src), len(m.Body))
		}
		if m.Type == protocol.TypeClose || m.Type == protocol.TypeLogon && !first {
			return // written as words that only a server writes
		}
		checkLineRoundTrip(t, &m, first)
	})
}
