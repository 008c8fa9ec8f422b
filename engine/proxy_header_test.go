package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

var fromLoopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// newProxied returns an engine behind a load balancer of this machine's, whose replies tell Conn.RemoteAddr.
func newProxied(cfg engine.Config, trusted ...netip.Prefix) *engine.Engine {
	if trusted == nil {
		trusted = fromLoopback
	}
	cfg.Listeners = []engine.Listener{{Addr: "127.0.0.1:0", ProxyProtocol: trusted}}
	e := newEngine(cfg)
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.RemoteAddr().String())) })
	e.HandleDefault(echo)
	return e
}

func v1(source string, port int) []byte {
	family, dest := "TCP4", "192.0.2.99"
	if strings.Contains(source, ":") {
		family, dest = "TCP6", "2001:db8::99"
	}
	return fmt.Appendf(nil, "PROXY %s %s %s %d 443\r\n", family, source, dest, port)
}

// v2 returns a header with this command and family, and what follows its length.
func v2(command, family byte, rest []byte) []byte {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return append(b, rest...)
}

func v2TCP(source string, port uint16, extra ...byte) []byte {
	a := netip.MustParseAddr(source)
	family := byte(0x11)
	if a.Is6() {
		family = 0x21
	}
	rest := slices.Concat(a.AsSlice(), a.Next().AsSlice())
	rest = binary.BigEndian.AppendUint16(rest, port)
	rest = binary.BigEndian.AppendUint16(rest, 443)
	return v2(0x21, family, append(rest, extra...))
}

var (
	v2Local = v2(0x20, 0x00, nil)
	tlv     = append([]byte{0x05, 0x0C, 0xD0}, make([]byte, 3280)...) // longer than a v1 header, and one read's buffer
)

var proxyHeaders = []struct {
	name, want string
	header     []byte
}{
	{"v1 TCP4", "203.0.113.7:4711", v1("203.0.113.7", 4711)},
	{"v1 TCP6", "[2001:db8::7]:4711", v1("2001:db8::7", 4711)},
	{"v1 longest", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff7]:65535", []byte("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff7 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n")},
	{"v1 mapped", "203.0.113.7:4711", v1("::ffff:203.0.113.7", 4711)},
	{"v1 UNKNOWN", "", []byte("PROXY UNKNOWN\r\n")},
	{"v1 UNKNOWN, longest", "", []byte("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n")},
	{"v2 TCP4", "203.0.113.7:4711", v2TCP("203.0.113.7", 4711)},
	{"v2 TCP6", "[2001:db8::7]:4711", v2TCP("2001:db8::7", 4711)},
	{"v2 mapped", "203.0.113.7:4711", v2TCP("::ffff:203.0.113.7", 4711)},
	{"v2 with what load balancers add", "203.0.113.7:4711", v2TCP("203.0.113.7", 4711, tlv...)},
	{"v2 LOCAL", "", v2Local},
	{"v2 LOCAL with addresses", "", v2(0x20, 0x11, make([]byte, 12))},
	{"v1 UNKNOWN, and what is to be ignored", "", []byte("PROXY UNKNOWN and what a sender likes, \x00\xff\r\n")},
	{"v1 UNKNOWN with spaces", "", []byte("PROXY UNKNOWN  \r\n")},
	{"v2 LOCAL with a family and nothing", "", v2(0x20, 0x11, nil)},
	{"v2 LOCAL with a family and too little", "", v2(0x20, 0x21, make([]byte, 5))},
	{"v2 LOCAL with a family that there is not", "", v2(0x20, 0xFF, []byte("what a sender likes"))},
	{"v2 LOCAL with what load balancers add", "", v2(0x20, 0x00, []byte{0x05, 0, 4, 1, 2, 3, 4})},
	{"v2 UNSPEC", "", v2(0x21, 0x00, nil)},
	{"v2 UNSPEC with what is to be ignored", "", v2(0x21, 0x00, make([]byte, 12))},
	{"v2 UNSPEC with what load balancers add", "", v2(0x21, 0x00, tlv)},
	{"v2 unix with what load balancers add", "", v2(0x21, 0x31, append(make([]byte, 216), 0x05, 0, 1, 7))},
	{"v2 unix", "", v2(0x21, 0x31, make([]byte, 216))},
}

// wantRemote wants the next message to be the reply that tells the connection's address: the client's, or this peer's.
func (p *peer) wantRemote(id uint32, want string) {
	p.t.Helper()
	if want == "" {
		want = p.LocalAddr().String()
	}
	if m := p.read(); m.ID != id || string(m.Body) != want {
		p.t.Errorf("got %q to request %d, want %q", m.Body, id, want)
	}
}

// What follows the header in the same segment reaches the handlers, and so does what comes later; the header may come
// byte by byte.
func TestProxyHeaders(t *testing.T) {
	e := newProxied(engine.Config{Accept: engine.Accept{MaxPerAddress: 10}})
	r := serve(t, e)
	request := frame(t, protocol.Message{Type: 1, ID: 1})
	for _, c := range proxyHeaders {
		t.Run(c.name, func(t *testing.T) {
			whole := dial(t, r.addr)
			whole.sendRaw(slices.Concat(c.header, request, request[:5]))
			whole.wantRemote(1, c.want)
			whole.sendRaw(request[5:])
			whole.wantRemote(1, c.want)

			if len(c.header) > 1000 {
				return
			}
			split := dial(t, r.addr)
			for _, b := range slices.Concat(c.header, request) {
				split.sendRaw([]byte{b}) // TCP_NODELAY is on: a segment each
			}
			split.wantRemote(1, c.want)

			late := dial(t, r.addr)
			late.sendRaw(c.header)
			eventually(t, "the header is read", func() bool { return e.Stats().Conns.Handshaking == 0 && e.Stats().Conns.Open == 3 })
			late.sendRaw(request)
			late.wantRemote(1, c.want)
			for _, p := range []*peer{whole, split, late} {
				_ = p.Close()
			}
			wantNobodyIn(t, e)
		})
	}
	if s := e.Stats(); s.Refused != (engine.Refusals{}) {
		t.Errorf("Stats returned %+v", s)
	}
}

// Nothing that follows the header is lost or read twice, however much it is.
func TestALargeFrameBehindTheProxyHeader(t *testing.T) {
	r := serve(t, newProxied(engine.Config{Limits: engine.Limits{MaxFirstFrame: -1}}))
	body := bytes.Repeat([]byte("0123456789abcdef"), 60<<10)
	for _, header := range [][]byte{v1("203.0.113.7", 1), v2TCP("203.0.113.7", 1)} {
		p := dial(t, r.addr)
		p.sendRaw(slices.Concat(header, frame(t, protocol.Message{Type: 2, ID: 1, Body: body})))
		if m := p.read(); !bytes.Equal(m.Body, body) {
			t.Errorf("%d bytes came back", len(m.Body))
		}
	}
}

func TestInvalidProxyHeaders(t *testing.T) {
	e := newProxied(engine.Config{})
	r := serve(t, e)
	invalid := []struct {
		name string
		b    []byte
	}{
		{"no header", frame(t, protocol.Message{Type: 1, ID: 1})},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"v1 without an end", bytes.Repeat([]byte("PROXY TCP4 "), 100)},
		{"v1 without CR", []byte("PROXY TCP4 203.0.113.7 192.0.2.99 4711 443\n")},
		{"v1 with too little", []byte("PROXY TCP4 203.0.113.7 192.0.2.99 4711\r\n")},
		{"v1 with a wrong address", []byte("PROXY TCP4 203.0.113.777 192.0.2.99 4711 443\r\n")},
		{"v1 with a wrong port", []byte("PROXY TCP4 203.0.113.7 192.0.2.99 65536 443\r\n")},
		{"v1 of another family", []byte("PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n")},
		{"v1 of UDP", []byte("PROXY UDP4 203.0.113.7 192.0.2.99 4711 443\r\n")},
		{"v2 of version 3", v2(0x31, 0x11, make([]byte, 12))},
		{"v2 with an unknown command", v2(0x22, 0x11, make([]byte, 12))},
		{"v2 with too little", v2(0x21, 0x11, make([]byte, 11))},
		{"v2 of UDP", v2(0x21, 0x12, make([]byte, 12))},
		{"v2 of a family that there is not", v2(0x21, 0x41, make([]byte, 12))},
		{"v2 of unix with too little", v2(0x21, 0x31, make([]byte, 215))},
		{"v2 of unix datagrams", v2(0x21, 0x32, make([]byte, 216))},
		{"v2 too long", v2(0x21, 0x11, make([]byte, 4097))},
	}
	for i, c := range invalid {
		p := dial(t, r.addr)
		p.sendRaw(c.b)
		func() {
			defer func() {
				if t.Failed() {
					t.Fatal(c.name)
				}
			}()
			p.wantUntold()
		}()
		if s := e.Stats(); s.Refused != (engine.Refusals{Proxy: uint64(i + 1)}) {
			t.Fatalf("%s: Stats returned %+v", c.name, s)
		}
	}
	for i, b := range [][]byte{nil, []byte("PROXY TCP4 20"), v2Local[:14], v2TCP("203.0.113.7", 1)[:20]} { // cut short
		p := dial(t, r.addr)
		p.sendRaw(b)
		p.endSide()
		p.wantUntold()
		if s := e.Stats(); s.Refused.Proxy != uint64(len(invalid)+i+1) {
			t.Fatalf("%q: Stats returned %+v", b, s)
		}
	}
	wantNobodyIn(t, e)
}

// Load balancers that say nothing, or half a header, hold up who waits behind them for a second and no more.
func TestSlowProxyHeadersDoNotKeepOthersOut(t *testing.T) {
	for name, sent := range map[string]string{"nothing": "", "half a header": "PROXY TCP4 192.0.2.1 "} {
		t.Run(name, func(t *testing.T) {
			const slots = 4
			e := newEcho(engine.Config{Listeners: []engine.Listener{{ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
				Accept: engine.Accept{MaxHandshakes: slots}, Timeouts: engine.Timeouts{Handshake: time.Hour, ProxyHeader: time.Hour}})
			r := serve(t, e)
			for range 2 * slots {
				dial(t, r.addr).sendRaw([]byte(sent))
			}
			p := dial(t, r.addr)
			p.sendRaw([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"))
			p.ask(1, 1, "")
			if s := e.Stats(); s.Conns.Handshaking == 0 || s.Refused.Handshake == 0 || s.Refused.Handshake > 2*slots || s.Probes > 0 {
				t.Errorf("Stats returned %+v", s)
			}
		})
	}
}

// A header that does not come in time ends the connection, also when its bytes come one by one.
func TestProxyTimeout(t *testing.T) {
	const timeout = 150 * time.Millisecond
	e := newProxied(engine.Config{Timeouts: engine.Timeouts{ProxyHeader: timeout}})
	r := serve(t, e)
	began := time.Now()
	mute, half := dial(t, r.addr), dial(t, r.addr)
	half.sendRaw([]byte("PROXY TCP4 203.0.113.7 "))
	mute.wantUntold()
	half.wantUntold()
	if took := time.Since(began); took < timeout {
		t.Errorf("closed after %v", took)
	}
	slow := dial(t, r.addr)
	header := bytes.Repeat([]byte("PROXY TCP4 "), 9)
	sent := 0
	for ; sent < len(header); time.Sleep(timeout / 10) { // it is this slow
		if _, err := slow.Write(header[sent : sent+1]); err != nil {
			break
		}
		sent++
	}
	if sent == len(header) {
		t.Errorf("all %d bytes of a slow header were read", sent)
	}
	wantNobodyIn(t, e)
	if s := e.Stats(); s.Refused != (engine.Refusals{Proxy: 3}) {
		t.Errorf("Stats returned %+v", s)
	}
}

// Who is not trusted cannot claim an address, nor come in without a header.
func TestProxyHeadersFromOthersAreNotBelieved(t *testing.T) {
	e := newProxied(engine.Config{}, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:127.0.1.0/120"))
	r := serve(t, e)
	p := dialFrom(t, "127.0.2.1", r.addr)
	_, _ = p.Write(append(v1("203.0.113.7", 1), frame(t, protocol.Message{Type: 1, ID: 1})...))
	p.wantUntold()
	p = dialFrom(t, "127.0.2.1", r.addr)
	_, _ = p.Write(frame(t, protocol.Message{Type: 1, ID: 1}))
	p.wantUntold()
	if s := e.Stats(); s.Refused != (engine.Refusals{Proxy: 2}) || s.Conns.Open != 0 {
		t.Errorf("Stats returned %+v", s)
	}
	trusted := dialFrom(t, "127.0.1.77", r.addr)
	trusted.sendRaw(append(v1("203.0.113.7", 1), frame(t, protocol.Message{Type: 1, ID: 1})...))
	trusted.wantRemote(1, "203.0.113.7:1")
}

// Behind a load balancer it is the clients' addresses that are limited and banned. The load balancer itself is neither.
func TestLimitsAndBansBehindAProxy(t *testing.T) {
	e := newProxied(engine.Config{Accept: engine.Accept{MaxPerAddress: 2, MaxPerSubnet: 3}, Bans: engine.Bans{Flaps: 3}})
	r := serve(t, e)
	enter := func(source string) *peer {
		p := dial(t, r.addr)
		p.sendRaw(slices.Concat(v2TCP(source, 1), frame(t, protocol.Message{Type: 1, ID: 1})))
		return p
	}
	in := []*peer{enter("2001:db8::1"), enter("2001:db8::ffff"), enter("2001:db8:0:1::1")}
	for _, p := range in {
		p.read()
	}
	enter("2001:db8::2").wantClose(protocol.TooManyConnections)
	enter("2001:db8:0:2::1").wantClose(protocol.TooManyConnections)
	other := enter("2001:db8:1::1")
	other.read()
	if s := e.Stats(); s.Refused != (engine.Refusals{Address: 1, Subnet: 1}) || s.Conns.Open != 4 {
		t.Errorf("Stats returned %+v", s)
	}
	for range 10 { // it looks whether the server lives
		p := dial(t, r.addr)
		p.sendRaw(v2Local)
		_ = p.Close()
	}
	for _, p := range append(in, other) {
		_ = p.Close()
	}
	wantNobodyIn(t, e)
	p := enter("2001:db8::1")
	p.read()
	_ = p.Close()
	wantNobodyIn(t, e)
	enter("2001:db8::3").wantUntold()
	if bans := e.Bans(); len(bans) != 1 || bans[0].Prefix.String() != "2001:db8::/64" {
		t.Errorf("Bans returned %+v", bans)
	}
	enter("2001:db8:0:1::1").read()
}
