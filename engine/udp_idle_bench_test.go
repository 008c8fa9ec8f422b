package engine_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// BenchmarkUDPIdle tells how much memory an idle session over UDP takes, with its user, its history and its place in all tables. BENCH_SESSIONS
// sets how many are made, all over one socket.
func BenchmarkUDPIdle(b *testing.B) {
	sessions := 10_000
	if s := os.Getenv("BENCH_SESSIONS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		sessions = n
	}
	srv := rollcalltest.NewServer(b, rollcall.Config{Engine: engine.Config{Loops: 1, Accept: engine.Accept{MaxConnections: -1}, Timeouts: engine.Timeouts{Close: time.Second},
		Listeners: []engine.Listener{{Network: "udp", Cleartext: true}}}, Users: usermgr.Config{HeartbeatTimeout: time.Hour}}, nil)
	p := peerUDP(b, srv.Addr, "")
	before := testkit.Heap().HeapAlloc
	for n := 0; n < sessions; {
		const batch = 100
		proofs := map[uint64][udpwire.ProofSize]byte{}
		for i := range batch {
			p.sendRaw(udpwire.AppendHello(nil, uint64(n+i+1)))
		}
		for len(proofs) < batch {
			d := p.want(udpwire.Cookie)
			proofs[udpwire.ID(d)] = udpwire.Proof(d)
		}
		for nonce, proof := range proofs {
			p.sendRaw(udpwire.AppendLogon(nil, nonce, proof, frame(b, protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "user" + strconv.FormatUint(nonce, 10)})))
		}
		for range batch {
			p.want(udpwire.Welcome)
		}
		n += batch
	}
	if n := srv.Users.Count(); n != sessions {
		b.Errorf("%d users are online", n)
	}
	forgotten := time.After(udpRepeats) // what is kept for the repeats of a Logon
	<-forgotten
	b.ReportMetric(float64(testkit.Heap().HeapAlloc-before)/float64(sessions), "B/session")
	b.ReportMetric(0, "ns/op")
}

// udpRepeats is when the engine has forgotten the first frames.
const udpRepeats = 14 * time.Second
