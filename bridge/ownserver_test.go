package bridge_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// lineServer is a server without an engine and without a bridge: a goroutine for each connection, whose first line is
// the user. It shouts back. What it gives the manager is a Link.
type lineServer struct {
	users   *usermgr.Manager
	serving sync.WaitGroup
	ln      net.Listener
}

func (s *lineServer) serve() {
	for number := uint64(1); ; number++ {
		nc, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() { s.converse(nc, number) })
	}
}

func (s *lineServer) converse(nc net.Conn, number uint64) {
	defer nc.Close()
	lines := bufio.NewScanner(nc)
	if !lines.Scan() {
		return
	}
	l := &lineLink{nc: nc, addr: usermgr.Address{Conn: number, Remote: netip.MustParseAddrPort(nc.RemoteAddr().String()), Via: "tcp"}, closed: make(chan struct{})}
	ctx, cancel := contextFor(patience)
	defer cancel()
	session, err := s.users.Register(ctx, usermgr.Logon{UserID: lines.Text(), Address: l.addr}, l)
	if err != nil {
		fmt.Fprintln(nc, err)
		return
	}
	for lines.Scan() && l.handle(func() {
		session.Beat()
		session.Received(1, 1, len(lines.Bytes()))
		n, _ := fmt.Fprintln(nc, strings.ToUpper(lines.Text()))
		session.Sent(1, 1, n)
	}) {
	}
	session.End(protocol.ClientClosed)
	<-l.closed
}

type lineLink struct {
	nc     net.Conn
	addr   usermgr.Address
	closed chan struct{}

	handling sync.Mutex // held while a message is handled
	quiet    bool
}

func (l *lineLink) handle(f func()) bool {
	l.handling.Lock()
	defer l.handling.Unlock()
	if !l.quiet {
		f()
	}
	return !l.quiet
}

func (l *lineLink) Address() usermgr.Address { return l.addr }

func (l *lineLink) Quiesce(done func()) {
	go func() {
		l.handle(func() { l.quiet = true })
		done()
	}()
}

func (l *lineLink) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	fmt.Fprintln(l.nc, why)
	l.nc.Close()
	close(l.closed)
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// Rules 3, 4 and 12: a server on net.Listener drives the manager through Link alone, by the same rules.
func TestManagerWithoutEngine(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, Logger: zap.NewNop()}))
	j := newJournal()
	users.Subscribe(j.handlers())
	counted := make(chan usermgr.SessionInfo, 2)
	users.Subscribe(usermgr.Events{Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) { counted <- i }})
	s := &lineServer{users: users, ln: ln}
	s.serving.Go(s.serve)

	dial := func(user string) (net.Conn, *bufio.Reader) {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(patience))
		j.meet(nc.LocalAddr().String())
		fmt.Fprintln(nc, user)
		return nc, bufio.NewReader(nc)
	}
	expect := func(r *bufio.Reader, want string) {
		t.Helper()
		if line, err := r.ReadString('\n'); line != want+"\n" {
			t.Errorf("received %q, %v; want %q", line, err, want)
		}
	}

	first, fromFirst := dial("ann")
	fmt.Fprintln(first, "hello")
	expect(fromFirst, "HELLO")
	second, fromSecond := dial("ann")
	expect(fromFirst, "rollcall: PushedOut: the same user logged on again")
	fmt.Fprintln(second, "hello again")
	expect(fromSecond, "HELLO AGAIN")
	second.Close()
	j.expect(t, "Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2",
		"Disconnected ann@2 ClientClosed")
	for _, n := range []uint64{5, 11} {
		i := <-counted
		in, out := protocol.Traffic{Messages: 1, Bytes: n, LastType: 1}, protocol.Traffic{Messages: 1, Bytes: n + 1, LastType: 1}
		if i.In != in || i.Out != out {
			t.Errorf("in %+v, out %+v; want %+v, %+v", i.In, i.Out, in, out)
		}
	}
	if _, err := io.Copy(io.Discard, fromFirst); err != nil {
		t.Error(err)
	}

	ctx, cancel := contextFor(patience)
	defer cancel()
	if err := users.Close(ctx); err != nil {
		t.Error(err)
	}
	ln.Close()
	s.serving.Wait()
}
