package wire

import (
	"bytes"
	"testing"

	"github.com/rollcall-go/rollcall/internal/wsframe"
)

func TestMaskedMessagesAreUnderstood(t *testing.T) {
	for _, size := range []int{0, 1, 64, 125, 126, 4096, 1<<16 - 1, 1 << 16} {
		payload := filling(size)
		raw := AppendMasked(nil, payload)
		var r wsframe.Reader
		var f wsframe.Found
		n, used, err := r.Unwrap(raw, &f)
		if err != nil || used != len(raw) || !bytes.Equal(raw[:n], payload) {
			t.Errorf("of %d bytes, %d of %d were used, and became %d: %v", size, used, len(raw), n, err)
		}
	}
}

func TestPayloadsAreFoundHoweverTheBytesAreCut(t *testing.T) {
	var raw, want []byte
	for _, size := range []int{0, 1, 125, 126, 1 << 16, 70} {
		raw = append(wsframe.AppendHeader(raw, wsframe.Binary, true, size), filling(size)...)
		want = append(want, filling(size)...)
		raw = append(wsframe.AppendHeader(raw, wsframe.Ping, true, 3), "abc"...)
	}
	for _, piece := range []int{1, 2, 3, 7, 4096, len(raw)} {
		var u Unwrapper
		var got []byte
		for rest := raw; len(rest) > 0; {
			b := rest[:min(piece, len(rest))]
			rest = rest[len(b):]
			for len(b) > 0 {
				payload, after, err := u.Next(b)
				if err != nil {
					t.Fatal(err)
				}
				got, b = append(got, payload...), after
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d bytes, %d bytes of payload were found, want %d", piece, len(got), len(want))
		}
	}
}

func TestACloseIsAnError(t *testing.T) {
	for what, raw := range map[string][]byte{
		"a Close":           wsframe.AppendHeader(nil, wsframe.Close, true, 0),
		"a reserved opcode": {0x83, 0},
		"a reserved bit":    {0xC2, 0},
	} {
		if _, _, err := new(Unwrapper).Next(raw); err == nil {
			t.Errorf("%s is no error", what)
		}
	}
}
