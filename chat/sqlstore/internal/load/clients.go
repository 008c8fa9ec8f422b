package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// clientsOf is set to the server's address in the process of the clients.
const clientsOf = "ROLLCALL_LOAD_CLIENTS_OF"

// Main runs the tests, or the clients of BenchmarkServer where this process is theirs. Call it in TestMain. In the server's process they would read late:
// Go's runtime looks which connections have something while a processor has nothing else to do, or every 10 ms, and then takes 128 of them.
func Main(run func() int) int {
	addr := os.Getenv(clientsOf)
	if addr == "" {
		return run()
	}
	if err := serveClients(addr, json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	return 0
}

// member is a client, and its group.
type member struct {
	User  string
	Group chat.GroupID
}

// exchange is a number of messages that the clients send.
type exchange struct {
	N        int
	InFlight int // how many of the clients send, each its next message when it has its answer
	ToUsers  bool
	Rate     int // messages a second; 0 for no limit
}

// crew is the process of the clients.
type crew struct {
	in  *json.Encoder
	out *json.Decoder
}

// startClients starts the clients' process, which ends with the benchmark, and logs them on.
func startClients(b *testing.B, addr string, members []member) *crew {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), clientsOf+"="+addr), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	c := &crew{json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))}
	c.ask(b, members, new(bool))
	return c
}

// ask gives the clients something, and waits for their answer.
func (c *crew) ask(b *testing.B, what, answer any) {
	err := c.in.Encode(what)
	if err == nil {
		err = c.out.Decode(answer)
	}
	if err != nil {
		b.Fatalf("the clients have failed: %v", err)
	}
}

// exchange has the clients send b.N messages, and returns how long each took until its answer came.
func (c *crew) exchange(b *testing.B, x exchange) (took []time.Duration) {
	x.N = b.N
	c.ask(b, x, &took)
	return took
}

// serveClients logs clients on and has them send, until its input ends.
func serveClients(addr string, in *json.Decoder, out *json.Encoder) error {
	var members []member
	if err := in.Decode(&members); err != nil {
		return err
	}
	debug.SetGCPercent(400) // more of the processors is left for the server
	var clients []*client
	for _, m := range members {
		c, err := dial(addr, m)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	if err := out.Encode(true); err != nil {
		return err
	}
	for {
		var x exchange
		if err := in.Decode(&x); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		took, err := x.run(clients)
		if err != nil {
			return err
		}
		if err := out.Encode(took); err != nil {
			return err
		}
	}
}

func (x *exchange) run(clients []*client) (took []time.Duration, err error) {
	var all sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	took = make([]time.Duration, x.N)
	start := time.Now()
	for i, c := range clients[:x.InFlight] {
		to, with := "group", strconv.FormatUint(uint64(c.group), 10)
		if x.ToUsers {
			to, with = "user", clients[i^1].user
		}
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < x.N && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				began := time.Now()
				if x.Rate > 0 {
					began = start.Add(time.Duration(i) * time.Second / time.Duration(x.Rate))
					time.Sleep(time.Until(began))
				}
				if err := c.send(to, with); err != nil {
					failed.Store(&err)
				}
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return took, nil
}

// client is a connection that reads all that comes.
type client struct {
	net.Conn
	user     string
	group    chat.GroupID
	id       uint32
	answered chan *protocol.Message
}

// dial logs a client on.
func dial(addr string, m member) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, user: m.User, group: m.Group, answered: make(chan *protocol.Message, 1)}
	go func() { // until the connection is closed
		defer close(c.answered)
		_ = wiretest.Each(make([]byte, 64<<10), conn.Read, func(m *protocol.Message) error {
			if m.IsReply() {
				c.answered <- m.Clone()
			}
			return nil
		})
	}()
	return c, c.ask(wiretest.Logon(m.User))
}

// ask sends a message and waits for its answer.
func (c *client) ask(m *protocol.Message) error {
	frame, err := protocol.Binary.Append(nil, m)
	if err != nil {
		return err
	}
	if _, err := c.Write(frame); err != nil {
		return err
	}
	switch m := <-c.answered; {
	case m == nil:
		return errors.New("the server has closed the connection")
	case m.Flags&protocol.FlagError != 0:
		refused, err := protocol.ParseClose(m.Body)
		if err == nil {
			err = refused
		}
		return err
	}
	return nil
}

// send sends a message of 200 bytes to a group, or to a user.
func (c *client) send(to, with string) error {
	c.id++
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: protocol.ChatSend, Fields: map[string]string{to: with},
		Content: system.AppendPost(nil, uuid.New(), 1, make([]byte, 200))})
	if err != nil {
		return err
	}
	return c.ask(&protocol.Message{Type: protocol.TypeChat, ID: c.id, Body: body})
}
