package layout_test

import (
	"bytes"
	"testing"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// AppendReply is Append for a message that carries the request's type and ID: same bytes, same refusals.
func TestAppendReplyIsAppendOfTheReply(t *testing.T) {
	for _, typ := range []uint16{0, 1, 0xFEFF, protocol.TypeHeartbeat} {
		for flags := range protocol.Flags(16) {
			for _, body := range [][]byte{nil, {}, []byte("body"), bytes.Repeat([]byte("b"), 1<<16)} {
				const id = 0x01020304
				want, wantErr := protocol.Binary.Append([]byte("before"),
					&protocol.Message{Type: typ, Flags: flags, ID: id, Body: body})
				got, ok := layout.AppendReply([]byte("before"), typ, uint8(flags), id, body)
				if !bytes.Equal(got, want) || ok != (wantErr == nil) {
					t.Errorf("type %#x, flags %d, %d bytes: %x, %v; want %x, %v", typ, flags, len(body), got, ok, want, wantErr)
				}
			}
		}
	}
}
