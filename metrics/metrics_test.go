package metrics_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/metrics"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// server is what is measured, listening and not yet running.
func server(t testing.TB) metrics.Config {
	users := testkit.Must(usermgr.New(usermgr.Config{}))
	t.Cleanup(func() {
		if err := users.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	e := testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}}))
	b := testkit.Must(bridge.Attach(e, users, func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.UserID == "eve" {
			return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized}
		}
		return bridge.Identity{UserID: l.UserID}, nil
	}, bridge.Config{}))
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	talk := testkit.Must(chat.New(b, chat.Config{Store: chat.NewMemory(), Logger: zap.NewNop()}))
	t.Cleanup(func() { // before the user manager
		if err := talk.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	way := testkit.Must(mesh.New(mesh.Config{Listen: "127.0.0.1:0", Secret: []byte("the test's secret"), Logger: zap.NewNop()}))
	t.Cleanup(way.Close)
	node := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: way, Logger: zap.NewNop()}))
	return metrics.Config{Engine: e, Users: users, Bridge: b, Push: push.New(b), Presence: talk.Presence(), Chat: talk, Node: node, Mesh: way}
}

// serve runs it until the test ends.
func serve(t testing.TB) metrics.Config {
	cfg := server(t)
	if err := cfg.Engine.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cfg.Engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return cfg
}

// peer writes what a test wants, and waits for what comes back.
type peer struct {
	net.Conn
	t testing.TB
}

func dial(t testing.TB, e *engine.Engine) *peer {
	c, err := net.Dial("tcp", e.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	return &peer{c, t}
}

func (p *peer) ask(m protocol.Message) {
	b, err := protocol.Binary.Append(nil, &m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.Read(make([]byte, 4096)); err != nil {
		p.t.Fatal(err)
	}
}

// gather returns the values of all metrics, by name and label.
func gather(t testing.TB, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetName() + "=" + l.GetValue() + "}"
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}

// What happens shows: a user comes, asks, goes; another is refused.
func TestWhatHappensShows(t *testing.T) {
	cfg := serve(t)
	c := metrics.New(cfg)
	ann := dial(t, cfg.Engine)
	ann.ask(protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann", Device: 3})
	ann.ask(protocol.Message{Type: 1, ID: 2, Body: make([]byte, 84)})
	eve := dial(t, cfg.Engine)
	eve.ask(protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "eve"})
	_ = eve.Close()
	wantEventually(t, c, map[string]float64{
		"rollcall_connections{state=bound}": 1, "rollcall_connections{state=accepted}": 0,
		"rollcall_connections{state=verifying}": 0, "rollcall_connections{state=closing}": 0,
		"rollcall_connections_by_transport{transport=tcp}": 1, "rollcall_connections_by_transport{transport=wss}": 0,
		"rollcall_connections_accepted_total": 2, "rollcall_connections_refused_total{reason=full}": 0, "rollcall_bans": 0,
		"rollcall_connections_closed_total{code=Unauthorized}": 1, "rollcall_connection_outcomes_total{outcome=told}": 1,
		"rollcall_received_messages_total": 1, "rollcall_received_bytes_total": 100,
		"rollcall_sent_messages_total": 1, "rollcall_sent_bytes_total": 100,
		"rollcall_dropped_messages_total": 0, "rollcall_inbound_queue_bytes": 0, "rollcall_outbound_queue_bytes": 0,
		"rollcall_handler_panics_total": 0, "rollcall_handler_errors_total": 0, "rollcall_loop_stalls_total": 0,
		"rollcall_users": 1, "rollcall_sessions{device=other}": 1, "rollcall_sessions{device=0}": 0, "rollcall_sessions_started_total": 1,
		"rollcall_event_handler_panics_total": 0, "rollcall_handlers_given_up_total": 0,
		"rollcall_logons_refused_total{code=Unauthorized}": 1, "rollcall_logons_in_progress": 0,
		"rollcall_authenticators_running": 0,
	})
	if _, err := cfg.Users.Kick("ann", nil); err != nil {
		t.Fatal(err)
	}
	_, _ = ann.Read(make([]byte, 4096))
	_ = ann.Close()
	wantEventually(t, c, map[string]float64{
		"rollcall_users": 0, "rollcall_sessions_ended_total{code=KickedOut}": 1,
		"rollcall_connections_closed_total{code=KickedOut}": 1, "rollcall_connections{state=bound}": 0,
	})
}

// What users do with presence and chat shows: one watches, makes a group, writes, and takes it back.
func TestPresenceAndChatShow(t *testing.T) {
	cfg := serve(t)
	c := metrics.New(cfg)
	ann := dial(t, cfg.Engine)
	ann.ask(protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann"})
	ann.ask(protocol.Message{Type: protocol.TypePresence, ID: 2, Body: operation(protocol.PresenceWatch)})
	group := testkit.Must(cfg.Chat.CreateGroup(t.Context(), "ann", chat.Group{Open: true}))
	id := testkit.Must(uuid.NewV7())
	for range 2 {
		testkit.Must(cfg.Chat.Send(t.Context(), "ann", chat.ToGroup(group), 1, nil, chat.SendOptions{ID: id}))
	}
	testkit.Must(cfg.Chat.Recall(t.Context(), "ann", chat.ToGroup(group), 1, chat.SendOptions{}))
	if _, err := cfg.Chat.Send(t.Context(), "bob", chat.ToGroup(group), 1, nil, chat.SendOptions{}); err == nil {
		t.Error("bob may write")
	}
	wantEventually(t, c, map[string]float64{
		"rollcall_presence_users": 1, "rollcall_presence_watching": 1, "rollcall_presence_requests_waiting": 0,
		"rollcall_presence_requests_busy_total": 0, "rollcall_presence_changes_total": 1, "rollcall_presence_failures_total": 0,
		"rollcall_presence_panics_total": 0,
		"rollcall_chat_stored_total":     2, "rollcall_chat_recalled_total": 1, "rollcall_chat_repeated_total": 1, "rollcall_chat_refused_total": 1,
		"rollcall_chat_delivered_total": 2, "rollcall_chat_batches_total": 4, "rollcall_chat_requests_waiting": 0,
		"rollcall_chat_requests_busy_total": 0, "rollcall_chat_failures_total": 0, "rollcall_chat_panics_total": 0,
	})
}

// operation is the body of an operation without fields.
func operation(op uint8) []byte {
	return testkit.Must(protocol.AppendOperation(nil, &protocol.Operation{Op: op}))
}

// A client chooses its device class: the series are those that the application names, and one more. They stay.
func TestDeviceClassesHaveABoundedNumberOfSeries(t *testing.T) {
	devices := usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{3, 4}}, MaxSessions: -1}
	users := testkit.Must(usermgr.New(usermgr.Config{Devices: devices}))
	defer func() { _ = users.Close(t.Context()) }()
	c := metrics.New(metrics.Config{Users: users})
	for device := range uint16(500) {
		l := usermgr.Logon{UserID: "ann", Device: device}
		if _, err := users.Register(t.Context(), l, link{conn: uint64(device)}); err != nil {
			t.Fatal(err)
		}
	}
	wantSessions := func(want map[string]float64) {
		t.Helper()
		got := make(map[string]float64)
		for name, v := range gather(t, c) {
			if strings.HasPrefix(name, "rollcall_sessions{") {
				got[name] = v
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("the series are %v, want %v", got, want)
		}
	}
	wantSessions(map[string]float64{"rollcall_sessions{device=0}": 1, "rollcall_sessions{device=3}": 0, // 4 came in its place
		"rollcall_sessions{device=4}": 1, "rollcall_sessions{device=other}": 497})
	if _, err := users.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSessions(map[string]float64{"rollcall_sessions{device=0}": 0, "rollcall_sessions{device=3}": 0,
		"rollcall_sessions{device=4}": 0, "rollcall_sessions{device=other}": 0})
}

// namedAddr is the address of a connection that names its network itself.
type namedAddr string

func (n namedAddr) Network() string { return string(n) }
func (namedAddr) String() string    { return "" }

// namedConn is a connection on such a network.
type namedConn struct {
	net.Conn
	network namedAddr
}

func (c namedConn) LocalAddr() net.Addr { return c.network }

// A connection that is given to ServeConn chooses the name of its transport: the series are those of the engine's own transports, and
// one more. They stay.
func TestTransportsHaveABoundedNumberOfSeries(t *testing.T) {
	cfg := serve(t)
	c := metrics.New(metrics.Config{Engine: cfg.Engine})
	const prefix = "rollcall_connections_by_transport{"
	want := map[string]float64{prefix + "transport=other}": 20}
	for _, name := range []string{"tcp", "tls", "ws", "wss", "unix", "udp"} {
		want[prefix+"transport="+name+"}"] = 0
	}
	wantSeries := func() {
		t.Helper()
		wantEventually(t, c, want)
		for name := range gather(t, c) {
			if _, ok := want[name]; strings.HasPrefix(name, prefix) && !ok {
				t.Errorf("there is a series %s", name)
			}
		}
	}
	var peers []net.Conn
	var served sync.WaitGroup
	for n := range 20 {
		ours, theirs := net.Pipe()
		peers = append(peers, ours)
		served.Go(func() { _ = cfg.Engine.ServeConn(namedConn{theirs, namedAddr(fmt.Sprint("network ", n))}) })
	}
	wantSeries()
	for _, p := range peers {
		_ = p.Close()
	}
	served.Wait()
	want[prefix+"transport=other}"] = 0
	wantSeries()
}

// link is a connection that is not there.
type link struct{ conn uint64 }

func (l link) Address() usermgr.Address { return usermgr.Address{Conn: l.conn} }
func (l link) Quiesce(done func())      { done() }
func (l link) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

func wantEventually(t *testing.T, c prometheus.Collector, want map[string]float64) {
	t.Helper()
	var wrong []string
	if !testkit.ComesTrue(testkit.Patience, func() bool {
		values := gather(t, c)
		wrong = nil
		for name, v := range want {
			if got, ok := values[name]; !ok || got != v {
				wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, got, v))
			}
		}
		return len(wrong) == 0
	}) {
		slices.Sort(wrong)
		t.Fatal(strings.Join(wrong, "\n"))
	}
}

// listing is a metric as docs/metrics.md or the code has it.
type listing struct{ typ, label, help string }

// described returns the metrics that the code has.
func described(t *testing.T, c prometheus.Collector) map[string]listing {
	t.Helper()
	// A Desc tells its name in its text alone.
	text := regexp.MustCompile(`^Desc\{fqName: "(\w+)", help: "([^"]*)", constLabels: \{\}, variableLabels: \{(\w*)\}\}$`)
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		c.Describe(ch)
	}()
	found := make(map[string]listing)
	for d := range ch {
		m := text.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("a description that the test does not understand: %s", d)
		}
		if _, twice := found[m[1]]; twice {
			t.Errorf("%s is there twice", m[1])
		}
		typ := "gauge"
		if strings.HasSuffix(m[1], "_total") { // TestNamesKeepPrometheussConventions holds that
			typ = "counter"
		}
		found[m[1]] = listing{typ: typ, label: m[3], help: m[2]}
	}
	return found
}

// docs/metrics.md lists each metric of the code, with its type, label and meaning, and nothing else.
func TestTheDocumentListsTheMetrics(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]listing)
	for _, row := range regexp.MustCompile("(?m)^\\| `(rollcall_\\w+)` \\| (\\w+) \\| `?(\\w*)`? ?\\| (.*) \\|$").FindAllStringSubmatch(string(doc), -1) {
		if _, twice := listed[row[1]]; twice {
			t.Errorf("%s is listed twice", row[1])
		}
		listed[row[1]] = listing{typ: row[2], label: row[3], help: row[4]}
	}
	code := described(t, metrics.New(server(t)))
	for name, m := range code {
		if got, ok := listed[name]; !ok {
			t.Errorf("docs/metrics.md does not list\n| `%s` | %s | `%s` | %s |", name, m.typ, m.label, m.help)
		} else if got != m {
			t.Errorf("%s is %+v, in docs/metrics.md %+v", name, m, got)
		}
	}
	for name := range listed {
		if _, ok := code[name]; !ok {
			t.Errorf("docs/metrics.md lists %s, which is not there", name)
		}
	}
	for _, name := range regexp.MustCompile(`rollcall_\w+`).FindAllString(string(doc), -1) { // in examples of queries too
		if _, ok := code[name]; !ok {
			t.Errorf("docs/metrics.md speaks of %s, which is not there", name)
		}
	}
}

// What is collected is what is described, with the type that the name says.
func TestNamesKeepPrometheussConventions(t *testing.T) {
	cfg := serve(t)
	p := dial(t, cfg.Engine)
	p.ask(protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann"})
	eve := dial(t, cfg.Engine)
	eve.ask(protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "eve"})
	_ = eve.Close()
	c := metrics.New(cfg)
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		want := dto.MetricType_GAUGE
		if strings.HasSuffix(f.GetName(), "_total") {
			want = dto.MetricType_COUNTER
		}
		if f.GetType() != want {
			t.Errorf("%s is a %v", f.GetName(), f.GetType())
		}
	}
}

// A collector shows the sources that it was given, and no others.
func TestSourcesThatAreNotGivenHaveNoMetrics(t *testing.T) {
	all := server(t)
	whole := described(t, metrics.New(all))
	parts := make(map[string]listing)
	for _, cfg := range []metrics.Config{{}, {Engine: all.Engine}, {Users: all.Users}, {Bridge: all.Bridge}, {Push: all.Push}, {Presence: all.Presence}, {Chat: all.Chat}, {Node: all.Node}, {Mesh: all.Mesh}} {
		part := described(t, metrics.New(cfg))
		if (len(part) == 0) != (cfg == metrics.Config{}) {
			t.Errorf("%+v has %d metrics", cfg, len(part))
		}
		maps.Copy(parts, part)
	}
	if !maps.Equal(parts, whole) {
		t.Errorf("the parts have %d metrics, the whole %d", len(parts), len(whole))
	}
}

func Example() {
	users := testkit.Must(usermgr.New(usermgr.Config{}))
	defer users.Close(context.Background())
	srv := testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}}))
	b := testkit.Must(bridge.Attach(srv, users, nil, bridge.Config{}))
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.New(metrics.Config{Engine: srv, Users: users, Bridge: b}))
	page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})

	w := httptest.NewRecorder() // or http.Handle("/metrics", page)
	page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "rollcall_users") {
			fmt.Print(line)
		}
	}
	// Output:
	// # HELP rollcall_users Users who are online.
	// # TYPE rollcall_users gauge
	// rollcall_users 0
}
