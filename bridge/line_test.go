package bridge_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// terminal is a client that speaks lines.
type terminal struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (s *server) terminal(lines string) *terminal {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.engine.Addrs()[0].String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	term := &terminal{s.t, nc, bufio.NewReader(nc)}
	term.write(lines)
	return term
}

func (p *terminal) write(lines string) {
	p.t.Helper()
	if _, err := io.WriteString(p, lines); err != nil {
		p.t.Fatal(err)
	}
}

func (p *terminal) line() string {
	p.t.Helper()
	line, err := p.in.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// Rule 1: a first line that cannot be meant as a name binds no user, and later lines are not delivered.
func TestAWebPagesFormDoesNotLogOn(t *testing.T) {
	for name, request := range map[string]string{
		"a form":   "POST / HTTP/1.1\r\nHost: localhost:9001\r\n\r\nuser=alice\r\n@bob hello\r\n",
		"a look":   "GET / HTTP/1.1\r\n\r\n",
		"a tunnel": "CONNECT x:1 HTTP/1.0\r\n\r\n",
		"a text":   "hello, all\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, options{engine: engine.Config{Listeners: []engine.Listener{{Codec: protocol.Line}}}})
			s.engine.HandleDefault(func(_ *engine.Conn, m *protocol.Message) error {
				t.Errorf("a message %q of %q", m.Body, m.UserID)
				return nil
			})
			s.start()
			p := s.terminal(request)
			if line := p.line(); !strings.HasPrefix(line, "* close 2004 InvalidMessage ") {
				t.Fatalf("the client is told %q", line)
			}
			if rest, err := io.ReadAll(p.in); len(rest) > 0 || err != nil {
				t.Errorf("then %q, %v", rest, err)
			}
			if n := s.users.Stats().Logons; n != 0 {
				t.Errorf("%d logons", n)
			}
		})
	}
}

// Rule 7: a session's ID is a secret. Line shows it to a client that asks for it, which can come back with it.
func TestALineClientComesBackWithTheIDThatItAskedFor(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Listeners: []engine.Listener{{Codec: protocol.Line}}}})
	if line := s.terminal("ann\n").line(); strings.Contains(line, "session") || !strings.HasPrefix(line, "* welcome") {
		t.Errorf("a person is told %q", line)
	}
	first := s.terminal("bob\tsession=\r\n")
	_, id, asked := strings.Cut(first.line(), "\tsession=")
	if session := sessionsOf(s.users, "bob")[0]; !asked || id != session.ID {
		t.Fatalf("the program is told %q, the session is %q", id, session.ID)
	}
	if line := s.terminal("bob\tsession=" + id + "\r\n").line(); !strings.Contains(line, "\tsession=") {
		t.Errorf("on coming back it is told %q", line)
	}
	if line := first.line(); !strings.HasPrefix(line, "* close 2000 PushedOut") {
		t.Errorf("its old connection is told %q", line)
	}
}
