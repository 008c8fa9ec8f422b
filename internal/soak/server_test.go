//go:build linux

package soak

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Message types.
const (
	echo uint16 = 1 // is replied to with its own body
	push uint16 = 2 // comes from the server; the body begins with the time, in nanoseconds since 1970
	note uint16 = 3 // has no answer
)

// Tokens that the authenticator refuses, and takes its time for.
const (
	bad  = "bad"
	slow = "slow"
)

// settings are those of a server process.
type settings struct {
	Addr              string       // "" is a free port of 127.0.0.1
	TLS               *certificate // nil for plain TCP
	Web               bool         // WebSocket
	UDP               bool         // besides, datagrams at the same port
	Descriptors       uint64       // limit of open files; 0 leaves it
	Workers           int
	MaxConnections    int
	OutboundLimit     int
	WriteTimeout      time.Duration
	SlowPolicy        engine.SlowPolicy
	LogonTimeout      time.Duration
	HandshakeTimeout  time.Duration
	Interval, Timeout time.Duration // of the heartbeat; 0 is no watch
	Authenticate      bool
	LogonDeadline     time.Duration // 0 is patience
	SlowAuthenticator time.Duration // how long it takes for the token "slow"
	PushEvery         time.Duration // to each who is online, 64 B of body, to one after another within that time
	PushBulk          int           // bytes of another push, to those whose name begins with "slow"
	CloseTimeout      time.Duration
	Limits            limits
}

// limits are those that are off by default, of the engine and of the bridge.
type limits struct {
	MaxPerAddress, MaxPerSubnet  int
	AcceptRate                   float64
	Bans                         engine.Bans
	MemoryBudget, MaxMessageRate int
	MaxAuthenticating, MaxLogons int
	Procs                        int // GOMAXPROCS of the process, whose event loops are as many as otherwise
}

// none reports whether all limits are the defaults.
func (l limits) none() bool { return reflect.DeepEqual(l, limits{}) }

// certificate are the files of a server's certificate, of its key, and of the authority behind it.
type certificate struct{ Cert, Key, CA string }

// newCertificate returns one that lasts as long as the test.
func newCertificate(t testing.TB) *certificate {
	t.Helper()
	ca := testca.New(t)
	cert, key := ca.Files(ca.Issue("server"))
	return &certificate{cert, key, ca.File()}
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// config returns the TLS of a server; nil without a certificate.
func (c *certificate) config() (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	return &tls.Config{Certificates: []tls.Certificate{cert}}, err
}

// authority is what clients must know; "" without a certificate.
func (c *certificate) authority() string {
	if c == nil {
		return ""
	}
	return c.CA
}

// overPlainAndTLS runs a test without and with a certificate.
func overPlainAndTLS(t *testing.T, test func(t *testing.T, c *certificate)) {
	t.Run("plain", func(t *testing.T) { test(t, nil) })
	t.Run("TLS", func(t *testing.T) { test(t, newCertificate(t)) })
}

// state is what a server process tells of itself.
type state struct {
	usage
	Engine                  engine.Stats
	Users                   int
	Connected, Disconnected int
	PushedOut, TimedOut     int
	Codes                   map[string]int // of Disconnected
	MessagesIn              int            // of sessions that have ended
	SessionsDropped         int            // sessions that have ended, of whose messages some were dropped
	Droppers                int            // connections of which OnDropped was told
	Warnings                map[string]int // what the engine has logged
	Ended                   string         // what Run returned without being stopped
}

// serverMain is a server. It prints its address, then answers each line that it reads: "stats"; "collect",
// which is "stats" after a garbage collection, so that memory is what is in use; "eat", which opens files
// until there is no descriptor left; "spew", which closes them again. When its input ends it stops.
func serverMain() {
	var s settings
	childIsTold(&s)
	if s.Descriptors > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: s.Descriptors, Max: s.Descriptors}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if s.Limits.Procs > 0 {
		runtime.GOMAXPROCS(s.Limits.Procs)
	}
	p := &process{settings: s, st: state{Codes: make(map[string]int), Warnings: make(map[string]int)}, droppers: make(map[uint64]bool)}
	if err := p.run(); err != nil {
		fmt.Fprintln(os.Stderr, "the server:", err)
		os.Exit(1)
	}
}

type process struct {
	settings settings
	engine   *engine.Engine
	users    *usermgr.Manager
	bridge   *bridge.Bridge
	eaten    []*os.File

	mu       sync.Mutex
	st       state
	droppers map[uint64]bool
}

func (p *process) run() error {
	s := p.settings
	if s.Timeout == 0 {
		s.Timeout = -1
	}
	if s.Addr == "" {
		s.Addr = "127.0.0.1:0"
	}
	secure, err := s.TLS.config()
	if err != nil {
		return err
	}
	nop := zap.NewNop()
	p.users = testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: s.Timeout, HeartbeatCheckInterval: s.Interval, Logger: nop}))
	at := engine.Listener{Addr: s.Addr, TLS: secure}
	if s.Web {
		at.WebSocket = new(engine.WebSocket)
	}
	listeners := []engine.Listener{at}
	if s.UDP {
		free := testkit.Must(net.Listen("tcp", at.Addr))
		listeners[0].Addr = free.Addr().String()
		_ = free.Close()
		listeners = append(listeners, engine.Listener{Network: "udp", Addr: listeners[0].Addr, Cleartext: true})
	}
	p.engine = testkit.Must(engine.New(engine.Config{Listeners: listeners, Loops: 2, Workers: s.Workers, Accept: engine.Accept{MaxConnections: s.MaxConnections, MaxPerAddress: s.Limits.MaxPerAddress, MaxPerSubnet: s.Limits.MaxPerSubnet, Rate: s.Limits.AcceptRate},
		Limits: engine.Limits{MaxOutbound: s.OutboundLimit, MaxMemory: s.Limits.MemoryBudget, MaxMessageRate: s.Limits.MaxMessageRate}, Timeouts: engine.Timeouts{Write: s.WriteTimeout, FirstMessage: s.LogonTimeout, Handshake: s.HandshakeTimeout, Close: s.CloseTimeout}, SlowPolicy: s.SlowPolicy,

		Bans:      s.Limits.Bans,
		OnDropped: p.onDropped, Logger: p.logger()}))
	cfg := bridge.Config{LogonDeadline: orElse(s.LogonDeadline, patience), MaxAuthenticating: s.Limits.MaxAuthenticating, MaxLogons: s.Limits.MaxLogons,
		RelogonBurst: -1, Logger: nop}
	var auth bridge.Authenticator
	if s.Authenticate {
		auth = func(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			if l.Token == slow {
				select {
				case <-time.After(s.SlowAuthenticator):
				case <-ctx.Done():
					return bridge.Identity{}, ctx.Err()
				}
			}
			if l.Token == bad {
				return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "who are you?"}
			}
			return bridge.Identity{UserID: l.UserID}, nil
		}
	}
	p.bridge = testkit.Must(bridge.Attach(p.engine, p.users, auth, cfg))
	p.users.Subscribe(p.handlers())
	p.engine.Handle(echo, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	p.engine.Handle(note, func(*engine.Conn, *protocol.Message) error { return nil })
	if err := p.engine.Listen(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.engine.Run(ctx) }()
	over := make(chan struct{})
	var pushing sync.WaitGroup
	pushing.Go(func() { p.push(over) })
	fmt.Println(p.engine.Addrs()[0])
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "stats":
			fmt.Println(p.stats(ended))
		case "collect":
			debug.FreeOSMemory()
			fmt.Println(p.stats(ended))
		case "eat":
			fmt.Println(p.eat())
		case "spew":
			for _, f := range p.eaten {
				_ = f.Close()
			}
			fmt.Println(len(p.eaten))
			p.eaten = nil
		}
	}
	close(over)
	pushing.Wait()
	stop()
	if err := <-ended; err != nil {
		return err
	}
	closing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.users.Close(closing); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.st.Connected != p.st.Disconnected {
		return fmt.Errorf("%d Connected and %d Disconnected", p.st.Connected, p.st.Disconnected)
	}
	return nil
}

func (p *process) stats(ended chan error) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.usage, p.st.Engine, p.st.Users = usageNow(), p.engine.Stats(), p.users.Count()
	select {
	case err := <-ended:
		p.st.Ended = fmt.Sprint("Run returned ", err)
		ended <- err
	default:
	}
	b, err := json.Marshal(p.st)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *process) onDropped(c *engine.Conn, _ protocol.Traffic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.droppers[c.ID()] = true
	p.st.Droppers = len(p.droppers)
}

// logger counts what the engine warns of, as an operator would have it written.
func (p *process) logger() *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(io.Discard), zap.InfoLevel), zap.Hooks(func(e zapcore.Entry) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.st.Warnings[e.Message]++
		return nil
	}))
}

func (p *process) eat() int {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return len(p.eaten)
		}
		p.eaten = append(p.eaten, f)
	}
}

func (p *process) handlers() usermgr.Events {
	note := func(f func(*state)) {
		p.mu.Lock()
		defer p.mu.Unlock()
		f(&p.st)
	}
	return usermgr.Events{
		Connected: func(usermgr.SessionInfo) { note(func(s *state) { s.Connected++ }) },
		PushedOut: func(usermgr.SessionInfo, usermgr.Address) { note(func(s *state) { s.PushedOut++ }) },
		TimedOut:  func(usermgr.SessionInfo) { note(func(s *state) { s.TimedOut++ }) },
		Disconnected: func(i usermgr.SessionInfo, why protocol.CloseCode) {
			note(func(s *state) {
				s.Disconnected++
				s.Codes[why.Error()]++
				s.MessagesIn += int(i.In.Messages)
				s.SessionsDropped += min(int(i.Dropped.Messages), 1)
			})
		},
	}
}

// push pushes until over is closed: to a part of the connections each millisecond.
func (p *process) push(over <-chan struct{}) {
	parts := int(p.settings.PushEvery / time.Millisecond)
	if parts == 0 {
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	bulk := make([]byte, p.settings.PushBulk)
	conns := make([][]*engine.Conn, parts)
	for turn := 0; ; turn = (turn + 1) % parts {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		if turn == 0 {
			for i := range conns {
				conns[i] = conns[i][:0]
			}
			n := 0
			for c := range p.engine.Conns() {
				conns[n%parts] = append(conns[n%parts], c)
				n++
			}
		}
		for _, c := range conns[turn] {
			body := binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(time.Now().UnixNano()))
			_ = c.Send(push, body[:64])
			if len(bulk) > 0 && strings.HasPrefix(c.UserID(), "slow") {
				_ = c.Send(note, bulk)
			}
		}
	}
}

// server is a server process.
type server struct {
	*child
	at target
}

func startServer(t testing.TB, cfg settings, before ...string) *server {
	t.Helper()
	c := startChild(t, "server", cfg, before...)
	return &server{c, target{Addr: c.line(), CA: cfg.TLS.authority(), Web: cfg.Web}}
}

// stats asks the server how it is. It must be well.
func (s *server) stats() state {
	s.t.Helper()
	return s.tells("stats")
}

// collected is stats after a garbage collection.
func (s *server) collected() state {
	s.t.Helper()
	return s.tells("collect")
}

func (s *server) tells(question string) state {
	s.t.Helper()
	var st state
	if answer := s.ask(question); json.Unmarshal([]byte(answer), &st) != nil || st.Ended != "" {
		s.t.Fatalf("the server says %s", answer)
	}
	return st
}

// until waits for a state of the server.
func (s *server) until(what string, condition func(state) bool) (st state) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the server is %v; %+v; %d users, %d Connected, %d Disconnected: %v", st.usage, st.Engine, st.Users, st.Connected, st.Disconnected, st.Codes)
		}
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // a server has better things to do than to tell how it is
		if st = s.stats(); condition(st) {
			return st
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("it did not come true: %s", what)
		}
	}
}

// isBackAt waits until the server holds no more than it did before, connections, users, goroutines and descriptors.
func (s *server) isBackAt(before state) state {
	s.t.Helper()
	return s.until("the server holds what it held before", func(now state) bool {
		return now.Engine.Conns.Open == before.Engine.Conns.Open && now.Users == before.Users &&
			now.Goroutines <= before.Goroutines+40 && // the spare ones: 16 for logons, 16 for the users' turns, and gnet's
			now.Descriptors <= before.Descriptors && now.Connected-now.Disconnected == before.Users
	})
}
