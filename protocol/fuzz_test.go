package protocol

import (
	"bytes"
	"maps"
	"reflect"
	"testing"
)

// checkSplit holds a codec's promise about bytes that come in two parts: of the first part, at bytes long, there is
// an unfinished message, the same error as of the whole, or the same message.
func checkSplit(t *testing.T, c Codec, src []byte, at int, o DecodeOptions) {
	t.Helper()
	var whole, part Message
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
		if !sameMessage(&part, &Message{}) {
			t.Fatalf("of %d bytes: an unfinished message changed m to %+v", at, part)
		}
	}
	if wantErr != nil && !sameMessage(&whole, &Message{}) {
		t.Fatalf("a refused message changed m to %+v", whole)
	}
}

func FuzzBinaryDecode(f *testing.F) {
	for _, v := range readVectors(f) {
		frame := bytesOf(f, v.Hex)
		f.Add(frame, uint(len(frame)/2), v.MaxBody, v.MaxFrame)
	}
	f.Fuzz(func(t *testing.T, src []byte, at uint, maxBody, maxFrame int) {
		o := DecodeOptions{MaxBody: maxBody, MaxFrame: maxFrame}
		checkSplit(t, Binary, src, int(at%uint(len(src)+1)), o)

		var m Message
		n, need, err := Binary.Decode(src, &m, o)
		if err != nil || n == 0 {
			if n != 0 || err == nil && need <= len(src) || err != nil && codeOf(err) == 0 {
				t.Fatalf("Decode = %d, %d, %v", n, need, err)
			}
			return
		}
		if n > len(src) || maxFrame > 0 && n > maxFrame || maxBody > 0 && len(m.Body) > maxBody {
			t.Fatalf("Decode = %d of %d bytes, a body of %d", n, len(src), len(m.Body))
		}
		if again, err := Binary.Append(nil, &m); err != nil || !bytes.Equal(again, src[:n]) {
			t.Fatalf("%x became %x, %v", src[:n], again, err)
		}
	})
}

func FuzzStringMap(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00"))
	f.Add([]byte("\x02\x07session\x00\x040197\x05token\x00\x06secret"))
	f.Add([]byte("\x02\x01k\x00\x01v\x01k\x00\x01w"))
	f.Add([]byte("\xff\x01k\x00\x01v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseStringMap(b)
		if err != nil {
			if codeOf(err) != InvalidMessage || m != nil {
				t.Fatalf("%v, %v", m, err)
			}
		} else {
			written, err := AppendStringMap(nil, m)
			if err != nil || len(b) > 0 && len(written) != len(b) {
				t.Fatalf("%x became %x, %v", b, written, err)
			}
			if again, err := ParseStringMap(written); err != nil || !maps.Equal(again, m) {
				t.Fatalf("%v became %v, %v", m, again, err)
			}
		}

		// The same bytes as a code and a text: what is read is written as it was, but for the order of pairs.
		e, err := ParseClose(b)
		if err != nil {
			if codeOf(err) != InvalidMessage || e != nil {
				t.Fatalf("%v, %v", e, err)
			}
			return
		}
		again, err := ParseClose(AppendClose(nil, e))
		if err != nil || again.Code != e.Code || again.Text != e.Text || !maps.Equal(again.Info, e.Info) {
			t.Fatalf("%v became %v, %v", e, again, err)
		}
	})
}

// A push that is read is written as it was, but for the order of its metadata.
func FuzzPush(f *testing.F) {
	for _, v := range append(pushVectors(), pushErrorVectors()...) {
		f.Add(bytesOf(f, v.Valid.BodyHex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		p, err := ParsePush(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the body was written to")
		}
		if err != nil {
			if codeOf(err) != InvalidMessage || p != nil {
				t.Fatalf("%+v, %v", p, err)
			}
		} else {
			written, err := AppendPush(nil, p)
			if err != nil || len(written) != len(b) {
				t.Fatalf("%x became %x, %v", b, written, err)
			}
			if again, err := ParsePush(written); err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%+v became %+v, %v", p, again, err)
			}
		}
		if id, err := ParsePushAck(b); (err == nil) != (len(b) == 16) || err == nil && !bytes.Equal(id[:], b) {
			t.Fatalf("acknowledged is %v, %v", id, err)
		}
	})
}

func FuzzIDList(f *testing.F) {
	for _, v := range onlineVectors() {
		f.Add(bytesOf(f, v.Valid.BodyHex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := ParseIDList(b)
		if err != nil {
			if codeOf(err) != InvalidMessage || ids != nil {
				t.Fatalf("%q, %v", ids, err)
			}
			return
		}
		if again, err := AppendIDList(nil, ids); err != nil || !bytes.Equal(again, b) || len(ids) > MaxIDList {
			t.Fatalf("%x became %x, %v", b, again, err)
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
		o := DecodeOptions{First: first, MaxBody: maxBody, MaxFrame: maxFrame}
		checkSplit(t, Line, src, int(at%uint(len(src)+1)), o)

		before := bytes.Clone(src)
		var m Message
		n, need, err := Line.Decode(src, &m, o)
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
		if m.Type == TypeClose || m.Type == TypeLogon && !first {
			return // written as words that only a server writes
		}
		checkLineRoundTrip(t, &m, first)
	})
}
