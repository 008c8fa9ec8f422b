package engine

import (
	"bytes"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// BenchmarkByteAPacket is what one packet of one byte costs, of a message of 1 MiB, without the system's part: 512 KiB of the
// message have come before.
func BenchmarkByteAPacket(b *testing.B) {
	const size, before = 1 << 20, 512 << 10
	frame, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: make([]byte, size)})
	for name, tc := range map[string]struct {
		codec protocol.Codec
		begin []byte
	}{
		"binary": {protocol.Binary, frame[:before]},
		"line":   {protocol.Line, bytes.Repeat([]byte{'x'}, before)},
		"prefix": {prefixed{}, append([]byte{size >> 16, 0, 0, 0}, make([]byte, before)...)},
	} {
		b.Run(name, func(b *testing.B) {
			e := testkit.Must(New(Config{Logger: zap.NewNop()}))
			e.HandleDefault(func(*Conn, *protocol.Message) error { return nil })
			l := &loop{engine: e}
			one := []byte{'x'}
			var gc *bufferingConn
			var c *Conn
			b.ReportAllocs()
			for n := size; b.Loop(); n++ {
				if n == size {
					b.StopTimer()
					gc = &bufferingConn{}
					c = &Conn{setup: e.newSetup(tc.codec), tcp: gnetSocket{gc}, loop: l, binding: noBinding{}, userBound: true}
					c.state.Store(stateBound)
					gc.brings(l, c, tc.begin)
					n = before
					b.StartTimer()
				}
				gc.brings(l, c, one)
			}
		})
	}
}
