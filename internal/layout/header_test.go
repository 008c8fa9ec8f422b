package layout_test

import (
	"bytes"
	"testing"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// DecodePlain accepts exactly the plain frames that Decode accepts, as the same message: tried with every byte of a
// header changed, and with every length of the input.
func TestDecodePlainIsDecodeOfPlainFrames(t *testing.T) {
	const maxBody = 8
	var plain, other int
	check := func(src []byte) {
		var want protocol.Message
		n, _, err := protocol.Binary.Decode(src, &want, protocol.DecodeOptions{MaxBody: maxBody})
		if err != nil || want.Flags != 0 || want.UserID != "" || want.DestUserID != "" || want.Type >= protocol.FirstSystemType {
			n, want = 0, protocol.Message{}
		}
		got, m := layout.DecodePlain(src, maxBody)
		if m != n || got != (layout.Plain{Type: want.Type, Device: want.Device, ID: want.ID}) {
			t.Errorf("%x: %d, %+v; want %d, %+v", src, m, got, n, want)
		}
		if n > 0 {
			plain++
		} else {
			other++
		}
	}
	for _, body := range []string{"", "body", "12345678", "123456789"} {
		frame, err := protocol.Binary.Append(nil, &protocol.Message{Type: 0x0102, ID: 0x03040506, Device: 0x0708, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		behind := append(bytes.Clone(frame), "the next frame"...)
		for at := range layout.HeaderLen {
			for v := range 256 {
				changed := bytes.Clone(behind)
				changed[at] = byte(v)
				check(changed)
			}
		}
		for n := range behind {
			check(behind[:n])
		}
	}
	if plain < 1000 || other < 1000 {
		t.Errorf("%d plain frames and %d others were tried", plain, other)
	}
}

// PutPlain is Append for plain frames, and writes nothing but them.
func TestPutPlainIsAppendOfPlainFrames(t *testing.T) {
	for _, typ := range []uint16{0, 1, 0x0102, 0xFEFF, protocol.FirstSystemType, protocol.TypeHeartbeat, 0xFFFF} {
		for flags := range protocol.Flags(16) {
			for _, body := range []string{"", "body"} {
				want, err := protocol.Binary.Append(nil, &protocol.Message{Type: typ, Flags: flags, ID: 0x01020304, Body: []byte(body)})
				if err != nil || flags&^protocol.FlagReply != 0 || typ >= protocol.FirstSystemType {
					want = nil
				}
				for room := range layout.HeaderLen + 8 {
					dst := bytes.Repeat([]byte{'-'}, room)
					n := layout.PutPlain(dst, typ, uint8(flags), 0x01020304, []byte(body))
					fits := want
					if room < len(want) {
						fits = nil
					}
					if n != len(fits) || !bytes.Equal(dst[:n], fits) || len(bytes.Trim(dst[n:], "-")) > 0 {
						t.Errorf("type %#x, flags %d, %q in %d bytes: %d, %x; want %x", typ, flags, body, room, n, dst, fits)
					}
				}
			}
		}
	}
}
