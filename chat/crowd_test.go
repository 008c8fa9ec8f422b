//go:build unix && !race

package chat_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// crowd is a process with clients of a benchmark's server, one for each of some members of a group. It reads in JSON what it is to do, and writes
// true when it has done it.
type crowd struct {
	in  *json.Encoder
	out *json.Decoder
}

type crowdConfig struct {
	Addr  string
	Group chat.GroupID
	Users []string
}

// crowdRun has the clients send so many messages. InFlight is how many of them at most have not reached all clients at a time.
type crowdRun struct{ Messages, InFlight int }

func init() { childJobs["crowd"] = beCrowd }

func startCrowd(b *testing.B, cfg crowdConfig) *crowd {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), childJob+"=crowd"), os.Stderr
	in, out := testkit.Must(cmd.StdinPipe()), testkit.Must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the clients: %v", err)
		}
	})
	c := &crowd{json.NewEncoder(in), json.NewDecoder(out)}
	c.do(b, cfg)
	return c
}

// do returns when the clients have done what they are told.
func (c *crowd) do(b *testing.B, what any) {
	var done bool
	if err := c.in.Encode(what); err != nil {
		b.Fatal(err)
	}
	if err := c.out.Decode(&done); err != nil {
		b.Fatalf("the clients: %v", err)
	}
}

// measure has the clients send b.N messages, and reports what that has cost the server, which is this process.
func (c *crowd) measure(b *testing.B, messages *chat.Service, inFlight int) {
	delivered, used := messages.Stats().Delivered, testkit.ProcessorTime()
	b.ResetTimer()
	c.do(b, crowdRun{b.N, inFlight})
	took := b.Elapsed()
	used, delivered = testkit.ProcessorTime()-used, messages.Stats().Delivered-delivered
	b.ReportMetric(float64(used.Nanoseconds())/float64(delivered), "cpu-ns/receiver")
	b.ReportMetric(float64(delivered)/took.Seconds(), "receivers/s")
	b.ReportMetric(took.Seconds()*1e3/float64(b.N), "ms/message")
}

// beCrowd is the main of the process with the clients. It ends with its input.
func beCrowd() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var cfg crowdConfig
	must(in.Decode(&cfg))
	logons, received := newTally(), newTally()
	clients := make([]net.Conn, len(cfg.Users))
	for i, user := range cfg.Users {
		clients[i] = testkit.Must(net.Dial("tcp", cfg.Addr))
		must(write(clients[i], wiretest.Logon(user)))
		go read(clients[i], logons, received)
	}
	logons.await(len(clients))
	group, all := strconv.FormatUint(uint64(cfg.Group), 10), 0
	for must(out.Encode(true)); ; must(out.Encode(true)) {
		var run crowdRun
		if in.Decode(&run) != nil {
			return
		}
		before := all
		for i := range run.Messages {
			received.await(before + (i-run.InFlight+1)*(len(clients)-1)) // the sender's session gets no copy
			content := system.AppendPost(nil, uuid.New(), 1, make([]byte, 200))
			m := wiretest.Request(protocol.TypeChat, uint32(i+2), protocol.ChatSend, content, "group", group)
			must(write(clients[i%run.InFlight%len(clients)], m))
		}
		all += run.Messages * (len(clients) - 1)
		received.await(all)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// read counts the answer to the logon, and the messages that come.
func read(conn net.Conn, logons, received *tally) {
	must(wiretest.Each(make([]byte, 64<<10), conn.Read, func(m *protocol.Message) error {
		switch {
		case m.Flags&protocol.FlagError != 0:
			return testkit.Must(protocol.ParseClose(m.Body))
		case m.Type == protocol.TypeLogon:
			logons.add(1)
		case m.Type == protocol.TypeChat && !m.IsReply():
			received.add(1)
		}
		return nil
	}))
}

// tally is a number that grows.
type tally struct {
	mu    sync.Mutex
	grown *sync.Cond
	n     int
}

func newTally() *tally {
	t := &tally{}
	t.grown = sync.NewCond(&t.mu)
	return t
}

func (t *tally) add(n int) {
	t.mu.Lock()
	t.n += n
	t.mu.Unlock()
	t.grown.Broadcast()
}

func (t *tally) await(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.n < n {
		t.grown.Wait()
	}
}
