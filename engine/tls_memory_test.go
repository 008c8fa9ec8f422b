package engine

import (
	"crypto/tls"
	"reflect"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// A TLS connection keeps 32 KB at most when large messages have come, however they were cut: crypto/tls doubles its buffer until a
// record fits, and keeps it. For the beginning of a record behind another it would double it once more.
func TestATLSConnectionKeepsNoMoreThanTwoRecords(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, piece := range []int{64 << 10, 20_000, 1400, 100} {
			e := testkit.Must(New(Config{}))
			handled := 0
			e.HandleDefault(func(*Conn, *protocol.Message) error { handled++; return nil })
			c, gc, client, rec := newSecureConn(t, e, version)
			for _, size := range []int{100, 100 << 10, 10, 100 << 10, 3000, 5000} {
				b, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: make([]byte, size)})
				if _, err := client.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			for at := 0; at < len(rec.kept); at += piece {
				gc.in = rec.kept[at:min(at+piece, len(rec.kept))]
				c.arrived()
			}
			if handled != 6 || c.buffered() != 0 {
				t.Fatalf("%d messages were handled, and %d bytes wait", handled, c.buffered())
			}
			tc := c.stream().(*tlsStream).tls
			kept := reflect.ValueOf(tc).Elem().FieldByName("rawInput").FieldByName("buf").Cap()
			if kept > 32<<10 {
				t.Errorf("%s, %d bytes at a time: %d bytes are kept, want 32 KB at most", tls.VersionName(version), piece, kept)
			}
		}
	}
}
