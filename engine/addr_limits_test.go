package engine_test

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// dialFrom is dial from an address of this machine's.
func dialFrom(t testing.TB, from, addr string) *peer {
	t.Helper()
	return newPeer(t, transportOf(t).begin(t, bareFrom(t, from, addr), addr))
}

// bareFrom is bare from an address of this machine's, for transports over TCP.
func bareFrom(t testing.TB, from, addr string) net.Conn {
	t.Helper()
	p, err := tryDialFrom(from, addr)
	if err != nil && runtime.GOOS != "linux" { // other systems have 127.0.0.1 alone
		testkit.LeaveOut(t, "%s is no address of this machine: %v", from, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p.Conn
}

// eachWithAddresses runs a test once for each transport whose clients have addresses: those over TCP.
func eachWithAddresses(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	eachTransportThat(t, (*transport).resets, f)
}

// wantBanned wants a connection from an address to be closed untold, before anything that the transport begins with.
func wantBanned(t testing.TB, from, addr string) {
	t.Helper()
	newPeer(t, bareFrom(t, from, addr)).wantUntold()
}

// wantFull wants a connection from an address to be told that the server is full: by HTTP, where it begins with that.
func wantFull(t testing.TB, from, addr string) {
	t.Helper()
	tr, nc := transportOf(t), bareFrom(t, from, addr)
	if !tr.web {
		newPeer(t, tr.begin(t, nc, addr)).wantClose(protocol.TooManyConnections)
		return
	}
	if tr.secure != nil {
		nc = shakeHands(t, nc, tr.secure.client).Conn
	}
	_, _ = io.WriteString(nc, webRequest(addr))
	if status, head := (&webConn{Conn: nc}).answer(t); status != 503 {
		t.Errorf("the answer is\n%s", head)
	}
	_ = nc.Close()
}

// wantTooMany wants a connection from an address that has as many as it may to be refused. Over TCP alone it is told: the others would have to shake hands
// before.
func wantTooMany(t testing.TB, from, addr string) {
	t.Helper()
	if transportOf(t).name == "tcp" {
		dialFrom(t, from, addr).wantClose(protocol.TooManyConnections)
	} else {
		wantBanned(t, from, addr)
	}
}

// tryDialFrom is bareFrom for any goroutine.
func tryDialFrom(from, addr string) (*peer, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &peer{Conn: nc, codec: protocol.Binary}, nil
}

// enterFrom dials from an address, and is served.
func enterFrom(t testing.TB, from, addr string) *peer {
	t.Helper()
	p := dialFrom(t, from, addr)
	p.ask(1, 1, from)
	return p
}

// wantUntold wants the connection to be closed without a message. It may be a reset.
func (p *peer) wantUntold() {
	p.t.Helper()
	if m, err := p.next(); err == nil {
		p.t.Fatalf("got a message of type %#x, want to be closed untold", m.Type)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		p.t.Fatal("the connection is still open")
	}
}

// wantNobodyIn waits until every place has been given back.
func wantNobodyIn(t testing.TB, e *engine.Engine) {
	t.Helper()
	eventually(t, "all places given back", func() bool {
		origins, subnets := e.Places()
		s := e.Stats()
		return s.Conns.Open == 0 && s.Conns.HandshakesWaiting == 0 && origins == 0 && subnets == 0
	})
}

func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	eachWithAddresses(t, connectionsOfOneAddressAreLimited)
}

func connectionsOfOneAddressAreLimited(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxPerAddress: 2}})
	r := serve(t, e)
	a, b := enterFrom(t, "127.0.1.1", r.addr), enterFrom(t, "127.0.1.1", r.addr)
	wantTooMany(t, "127.0.1.1", r.addr)
	c := enterFrom(t, "127.0.1.2", r.addr)
	if s := e.Stats(); s.Refused != (engine.Refusals{Address: 1}) || s.Conns.Open != 3 {
		t.Errorf("Stats returned %+v", s)
	}
	_ = a.Close()
	eventually(t, "the place of the one that left", func() bool { return e.Stats().Conns.Open == 2 })
	d := enterFrom(t, "127.0.1.1", r.addr)
	for _, p := range []*peer{b, c, d} {
		p.ask(1, 2, "")
		_ = p.Close()
	}
	wantNobodyIn(t, e)
}

func TestConnectionsOfOneSubnetAreLimited(t *testing.T) {
	eachWithAddresses(t, connectionsOfOneSubnetAreLimited)
}

func connectionsOfOneSubnetAreLimited(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxPerAddress: 2, MaxPerSubnet: 2}})
	r := serve(t, e)
	a, b := enterFrom(t, "127.0.1.1", r.addr), enterFrom(t, "127.0.1.2", r.addr)
	wantTooMany(t, "127.0.1.3", r.addr)
	c := enterFrom(t, "127.0.2.3", r.addr)
	if s := e.Stats(); s.Refused != (engine.Refusals{Subnet: 1}) {
		t.Errorf("Stats returned %+v", s)
	}
	_ = a.Close()
	eventually(t, "the place of the one that left", func() bool { return e.Stats().Conns.Open == 2 })
	d := enterFrom(t, "127.0.1.3", r.addr)
	for _, p := range []*peer{b, c, d} {
		_ = p.Close()
	}
	wantNobodyIn(t, e)
}

// One that the limit on all connections refuses takes no place of its address's.
func TestAFullServerCountsNoAddress(t *testing.T) {
	eachWithAddresses(t, aFullServerCountsNoAddress)
}

func aFullServerCountsNoAddress(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 1, MaxPerAddress: 1}})
	r := serve(t, e)
	a := enterFrom(t, "127.0.1.1", r.addr)
	for range 3 {
		wantFull(t, "127.0.1.2", r.addr)
	}
	if s := e.Stats(); s.Refused != (engine.Refusals{Full: 3}) {
		t.Errorf("Stats returned %+v", s)
	}
	_ = a.Close()
	eventually(t, "the place of the one that left", func() bool { return e.Stats().Conns.Open == 0 })
	_ = enterFrom(t, "127.0.1.2", r.addr).Close()
	wantNobodyIn(t, e)
}

// Over the rate connections wait, whatever their transports; none is refused.
func TestAcceptRateDelays(t *testing.T) {
	t.Parallel() // it mostly waits
	const burst, perSecond = 5, 50
	all := transports(t)
	clients := 5 * len(all)
	e := newEcho(onAll(t, all, engine.Config{Accept: engine.Accept{Rate: perSecond, Burst: burst}}))
	r := serve(t, e)
	ways := waysTo(r.Engine, all)
	began := time.Now()
	bares := make([]net.Conn, clients)
	for i := range bares {
		w := ways[i%len(ways)]
		bares[i] = w.bare(t, w.addr, nil)
	}
	for i, nc := range bares {
		w := ways[i%len(ways)]
		newPeer(t, w.begin(t, nc, w.addr)).ask(1, 1, "")
	}
	if took, least := time.Since(began), time.Duration(clients-burst)*time.Second/perSecond; took < least-10*time.Millisecond {
		t.Errorf("%d connections were taken in within %v, want %v at least", clients, took, least)
	}
	if s := e.Stats(); s.Refused != (engine.Refusals{}) || s.Accepted != uint64(clients) {
		t.Errorf("Stats returned %+v", s)
	}
}

// A burst is let in at once, and Accept.Burst says how large it is.
func TestAcceptBurst(t *testing.T) { eachTransport(t, acceptBurst) }

func acceptBurst(t *testing.T) {
	const burst = 5
	e := newEcho(engine.Config{Accept: engine.Accept{Rate: 0.001, Burst: burst}})
	r := serve(t, e)
	for id := range uint32(burst) {
		dial(t, r.addr).ask(1, id+1, "")
	}
}

func TestSettingsThatMakeNoSenseAreRefusedAtOnce(t *testing.T) {
	wantNoEngine(t, "Network", engine.Config{Listeners: []engine.Listener{{Network: "sctp"}}})
	wantNoEngine(t, "ProxyProtocol", engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0",
		ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), {}}}}})
}

// New names the setting that makes no sense.
func TestSettingsThatMakeNoSenseAreNamed(t *testing.T) {
	for name, cfg := range map[string]engine.Config{
		"Accept.Burst":   {Accept: engine.Accept{Burst: 5}},
		"MessageBurst":   {Limits: engine.Limits{MessageBurst: 5}},
		"MaxMessageRate": {Limits: engine.Limits{MessageBurst: 5, MaxByteRate: 5}},
		"ByteBurst":      {Limits: engine.Limits{ByteBurst: 5}},
		"MaxByteRate":    {Limits: engine.Limits{ByteBurst: 5, MaxMessageRate: 5}},
		"SlowPolicy":     {SlowPolicy: engine.SlowLatest + 1},
	} {
		wantNoEngine(t, name, cfg)
	}
	for _, cfg := range []engine.Config{
		{Accept: engine.Accept{Burst: -1}, Limits: engine.Limits{MessageBurst: -1, ByteBurst: -1}},
		{Accept: engine.Accept{Rate: 5, Burst: 5}, Limits: engine.Limits{MaxMessageRate: 5, MessageBurst: 5, MaxByteRate: 5, ByteBurst: 5}, SlowPolicy: engine.SlowLatest},
		{Limits: engine.Limits{MaxMessageRate: 5}}, {Limits: engine.Limits{MaxByteRate: 5}},
	} {
		serve(t, newEngine(cfg))
	}
}

// What is refused for its address does not take the turn of another.
func TestRefusedConnectionsDoNotCountForTheAcceptRate(t *testing.T) {
	eachWithAddresses(t, refusedConnectionsDoNotCountForTheAcceptRate)
}

func refusedConnectionsDoNotCountForTheAcceptRate(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{Rate: 0.001, Burst: 2, MaxPerAddress: 1}})
	r := serve(t, e)
	enterFrom(t, "127.0.1.1", r.addr)
	for range 10 {
		wantTooMany(t, "127.0.1.1", r.addr)
	}
	eventually(t, "the refusals", func() bool { return e.Stats().Refused.Address == 10 })
	enterFrom(t, "127.0.1.2", r.addr)
}

// A stopping engine does not wait for the turn of those who are not in yet.
func TestStoppingDoesNotWaitForTheAcceptRate(t *testing.T) {
	eachWithAddresses(t, stoppingDoesNotWaitForTheAcceptRate)
}

func stoppingDoesNotWaitForTheAcceptRate(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{Rate: 0.001, MaxPerAddress: 100}, Timeouts: engine.Timeouts{Stop: time.Minute}})
	r := serve(t, e)
	enterFrom(t, "127.0.1.1", r.addr).endSide()
	waits := newPeer(t, bareFrom(t, "127.0.1.1", r.addr))
	eventually(t, "the second one is accepted", func() bool { return e.Stats().Accepted == 2 })
	began := time.Now()
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("stopping took %v", took)
	}
	waits.wantUntold()
	wantNobodyIn(t, e)
}
