package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// sClient is openssl s_client, which sends what it reads line by line, and takes a K or a k alone on a line as an order to
// update its keys.
type sClient struct {
	t     *testing.T
	in    io.Writer
	lines chan string // what it writes, its own words among it
	ended chan error
}

func newSClient(t *testing.T, addr string, args ...string) *sClient {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		testkit.LeaveOut(t, "openssl is not installed: apt-get install openssl")
	}
	cmd := exec.Command(path, append([]string{"s_client", "-connect", addr}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &sClient{t: t, in: in, lines: make(chan string, 1000), ended: make(chan error, 1)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(s.lines)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			s.lines <- sc.Text()
		}
	}()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		s.ended <- cmd.Wait()
		_ = w.Close()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = r.Close()
		<-waited
		<-read
	})
	return s
}

// say has the client send a line, or obey it.
func (s *sClient) say(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// want waits for a line with text in it.
func (s *sClient) want(text string) string {
	s.t.Helper()
	timeout := time.After(patience)
	var seen []string
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("openssl ended without %q:\n%s", text, strings.Join(seen, "\n"))
			}
			if strings.Contains(line, text) {
				return line
			}
			seen = append(seen, line[:min(len(line), 100)])
		case <-timeout:
			s.t.Fatalf("openssl did not say %q:\n%s", text, strings.Join(seen, "\n"))
		}
	}
}

// newLineEcho echoes lines with a word before them, so that they can be told from what was typed.
func newLineEcho(cfg engine.Config) *engine.Engine {
	if cfg.Listeners == nil {
		cfg.Listeners = make([]engine.Listener, 1)
	}
	cfg.Listeners[0].Codec = protocol.Line
	e := newEngine(cfg)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		if string(m.Body) == "go" {
			c.Close(protocol.Errorf(protocol.KickedOut, "go then"))
			return nil
		}
		_ = c.Send(m.Type, append([]byte("echo of "), m.Body...))
		return nil
	})
	return e
}

// OpenSSL's idea of TLS, in both versions: messages, an end by us that it finds complete, an end by it.
func TestOpenSSLTalksToTheEngine(t *testing.T) {
	sec := newSecurity(t)
	e := newLineEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}})
	r := serve(t, e)
	for _, v := range []struct{ flag, name string }{{"-tls1_2", "TLSv1.2"}, {"-tls1_3", "TLSv1.3"}} {
		t.Run(v.name, func(t *testing.T) {
			s := newSClient(t, r.addr, v.flag, "-brief", "-CAfile", sec.ca.File(), "-verify_return_error", "-verify_hostname", "localhost")
			s.want("Protocol version: " + v.name)
			s.want("Verification: OK")
			s.say("ann")
			for i := range 20 {
				s.say(fmt.Sprintf("/7 line %d", i))
				s.want(fmt.Sprintf("echo of line %d", i))
			}
			s.say("/7 go")
			s.want("go then")
			timeout := time.After(patience)
			for over := false; !over; {
				select {
				case line, ok := <-s.lines:
					over = !ok
					if strings.Contains(line, "error") || strings.Contains(line, "unexpected eof") {
						t.Errorf("openssl says %q", line)
					}
				case <-timeout:
					t.Fatal("openssl does not end")
				}
			}
			if err := receive(t, "the end of openssl", s.ended); err != nil {
				t.Errorf("openssl ended with %v", err)
			}
			eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
		})
	}
}

// New keys for what the client sends, and for what it wants the server to send, over and over.
func TestKeyUpdatesByOpenSSL(t *testing.T) {
	sec := newSecurity(t)
	r := serve(t, newLineEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}}))
	s := newSClient(t, r.addr, "-tls1_3", "-CAfile", sec.ca.File())
	s.want("Verify return code: 0")
	s.say("ann")
	s.say("/7 before")
	s.want("echo of before")
	for i := range 20 {
		order := "k" // new keys for its own side
		if i%2 == 0 {
			order = "K" // for both
		}
		s.say(order)
		s.want("KEYUPDATE")
		s.say(fmt.Sprintf("/7 after %d", i))
		s.want(fmt.Sprintf("echo of after %d", i))
	}
}

// valve forwards to a server, and back as long as it is open.
type valve struct {
	addr string

	mu     sync.Mutex
	opened *sync.Cond
	shut   bool
}

func newValve(t testing.TB, to string) *valve {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{addr: ln.Addr().String()}
	v.opened = sync.NewCond(&v.mu)
	var ends [2]net.Conn
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		d := net.Dialer{Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) error {
			return rc.Control(func(fd uintptr) { setReceiveBuffer(fd, 32<<10) })
		}}
		far, err := d.Dial("tcp", to)
		if err != nil {
			_ = near.Close()
			return
		}
		ends = [2]net.Conn{near, far}
		forwarding.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
		forwarding.Go(func() {
			defer near.Close()
			buf := make([]byte, 32<<10)
			for {
				n, err := far.Read(buf)
				v.mu.Lock()
				for v.shut { // not half a record either: with one, openssl does not look at its input
					v.opened.Wait()
				}
				v.mu.Unlock()
				if _, errToo := near.Write(buf[:n]); err != nil || errToo != nil {
					return
				}
			}
		})
	})
	t.Cleanup(func() {
		v.set(false)
		_ = ln.Close()
		for _, c := range ends {
			if c != nil {
				_ = c.Close()
			}
		}
		forwarding.Wait()
	})
	return v
}

func (v *valve) set(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
	v.opened.Broadcast()
}

// Key updates that come while output waits for a client that does not read are obeyed at once, for what it sends,
// and in their place in the order of what it gets.
func TestKeyUpdatesByOpenSSLWhileOutputIsHeldBack(t *testing.T) {
	sec := newSecurity(t)
	e := newEngine(engine.Config{Listeners: []engine.Listener{{TLS: sec.server, Codec: protocol.Line}}, Limits: engine.Limits{MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Write: -1}})
	handled := make(chan string, 100)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		text := string(m.Body)
		if text == "much" {
			for i := range slowBuffers / chunk {
				_ = c.Send(m.Type, fmt.Appendf(nil, "line %d %s.", i, strings.Repeat("-", chunk)))
			}
		} else {
			_ = c.Send(m.Type, []byte("echo of "+text))
		}
		handled <- text
		return nil
	})
	r := serve(t, e)
	v := newValve(t, r.addr)
	s := newSClient(t, v.addr, "-tls1_3", "-CAfile", sec.ca.File())
	s.want("Verify return code: 0")
	s.say("ann")
	receive(t, "a message", handled)
	s.say("/7 before")
	receive(t, "a message", handled)
	s.want("echo of before")
	v.set(true)
	s.say("/7 much")
	receive(t, "a message", handled)
	eventually(t, "output is held back", func() bool { return e.Stats().OutboundQueue > 1<<20 })
	const updates = 10
	for i := range updates {
		order := "k"
		if i%2 == 0 {
			order = "K"
		}
		s.say(order)
		s.want("KEYUPDATE")
		text := fmt.Sprintf("after %d", i)
		s.say("/7 " + text)
		if got := receive(t, "a message under new keys", handled); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	}
	if e.Stats().OutboundQueue < 1<<20 {
		t.Error("nothing is held back any more")
	}
	v.set(false)
	for i := range slowBuffers / chunk {
		s.want(fmt.Sprintf("line %d -", i))
	}
	for i := range updates {
		s.want(fmt.Sprintf("echo of after %d", i))
	}
	s.say("K")
	s.want("KEYUPDATE")
	s.say("/7 in the end")
	s.want("echo of in the end")
}

// A client certificate of OpenSSL's, and a session that it resumes with a ticket, in both versions.
func TestOpenSSLResumesASession(t *testing.T) {
	sec := newSecurity(t)
	r := serve(t, newLineEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}}))
	for _, flag := range []string{"-tls1_2", "-tls1_3"} {
		ticket := t.TempDir() + "/ticket"
		first := newSClient(t, r.addr, flag, "-sess_out", ticket)
		first.say("ann")
		first.say("/7 one")
		first.want("echo of one")
		first.say("/7 go")
		receive(t, "the end of openssl", first.ended)
		again := newSClient(t, r.addr, flag, "-sess_in", ticket)
		again.want("Reused, ")
		again.say("ann")
		again.say("/7 two")
		again.want("echo of two")
	}
}
