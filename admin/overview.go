package admin

import (
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// overviewView is what an operator wants to know first. Totals count from the start of the parts that they are of.
type overviewView struct {
	At       time.Time `json:"at"`
	Began    time.Time `json:"began"` // when the page's sampler began
	Who      string    `json:"who"`   // Config.Authorize's answer for this request
	May      string    `json:"may"`   // "view" or "act"
	Users    int       `json:"users"`
	Sessions int       `json:"sessions"`
	// Devices counts sessions by device class, for the classes that usermgr.Config.Devices names.
	Devices          map[string]int    `json:"devices"`
	Logons           uint64            `json:"logons"`
	Refused          map[string]uint64 `json:"refused"` // by the user manager, by code
	Ended            map[string]uint64 `json:"ended"`   // sessions, by code
	HandlerPanics    uint64            `json:"handlerPanics"`
	HandlersFrozen   uint64            `json:"handlersFrozen"`
	HeartbeatSeconds float64           `json:"heartbeatSeconds"` // the timeout; 0 for none
	Engines          []engineView      `json:"engines"`
	Minute           series            `json:"minute"`   // a step a second
	Hour             series            `json:"hour"`     // a step each half minute
	Watchers         int               `json:"watchers"` // pages that watch the events
	ScanRuns         bool              `json:"scanRuns"`
	MuchWaits        int               `json:"muchWaits"` // from how many waiting bytes on a session is in trouble
	ShowFields       []string          `json:"showFields"`
	NotLetIn         map[string]uint64 `json:"notLetIn"` // refusals of all parts, by part and reason
	Cluster          *clusterView      `json:"cluster,omitempty"`
	Has              []string          `json:"has"` // what the page can show and do besides, by Config
}

// engineView is an engine.Stats, and its bridge's.
type engineView struct {
	Name     string   `json:"name"`
	Addrs    []string `json:"addrs"`
	Open     int      `json:"open"`
	Shaking  int      `json:"handshaking"`
	Queueing int      `json:"handshakesWaiting"`
	Accepted int      `json:"accepted"`
	Checking int      `json:"verifying"`
	Bound    int      `json:"bound"`
	Closing  int      `json:"closing"`

	Total         uint64            `json:"acceptedTotal"`
	Refused       map[string]uint64 `json:"refused"`
	Bans          int               `json:"bans"`
	Transports    map[string]int    `json:"transports"`
	Closed        map[string]uint64 `json:"closed"`
	Outcomes      map[string]uint64 `json:"outcomes"`
	Probes        uint64            `json:"probes"`
	In            traffic           `json:"in"`
	Out           traffic           `json:"out"`
	Dropped       traffic           `json:"dropped"`
	InboundQueue  int64             `json:"inboundQueue"`
	OutboundQueue int64             `json:"outboundQueue"`
	Lost          uint64            `json:"lost"`
	HandlerPanics uint64            `json:"handlerPanics"`
	HandlerErrors uint64            `json:"handlerErrors"`
	Stalls        uint64            `json:"stalls"`
	Logons        *logonsView       `json:"logons,omitempty"` // nil without a bridge
}

// logonsView is a bridge.LogonStats.
type logonsView struct {
	LoggingOn           int               `json:"loggingOn"`
	Authenticating      int               `json:"authenticating"`
	Refused             map[string]uint64 `json:"refused"`
	AuthenticatorPanics uint64            `json:"authenticatorPanics"`
}

// overview answers with the counts of everything. Its cost does not grow with the number of users.
func (a *Admin) overview(c *call) {
	u := a.cfg.Users.Stats()
	v := overviewView{At: time.Now(), Began: a.began, Who: c.who, May: "view", Users: u.Users, Sessions: u.Sessions,
		Devices: make(map[string]int), Logons: u.Logons, Refused: byName(u.Refused), Ended: byName(u.Disconnected),
		HandlerPanics: u.HandlerPanics, HandlersFrozen: u.HandlersFrozen, HeartbeatSeconds: a.cfg.Users.HeartbeatTimeout().Seconds(),
		Engines: []engineView{}, Watchers: a.hub.count(), ScanRuns: len(a.scans) > 0, MuchWaits: muchWaits, ShowFields: append([]string{}, a.cfg.ShowFields...)}
	v.Has, v.Cluster = a.has(), a.clusterNow()
	if c.may >= Act {
		v.May = "act"
	}
	for class, n := range u.Devices {
		v.Devices[strconv.Itoa(int(class))] = n
	}
	for i := range a.cfg.Engines {
		v.Engines = append(v.Engines, viewOfEngine(&a.cfg.Engines[i]))
	}
	v.NotLetIn = notLetIn(&v)
	v.Minute, v.Hour = a.samples.shown()
	c.answer(v)
}

// has returns which parts of Config are set that a page may be without.
func (a *Admin) has() []string {
	all := []string{}
	for _, p := range []struct {
		name string
		set  bool
	}{{"chat", a.cfg.Chat != nil}, {"presence", a.cfg.Presence != nil}, {"cluster", a.cfg.Cluster != nil},
		{"send", a.cfg.Send}, {"push", a.cfg.Send && a.cfg.Push != nil}} {
		if p.set {
			all = append(all, p.name)
		}
	}
	return all
}

// notLetIn adds up the refusals of connections and of log-ons. A bridge counts those of the user manager too.
func notLetIn(v *overviewView) map[string]uint64 {
	all := make(map[string]uint64)
	add := func(part string, counts map[string]uint64) {
		for why, n := range counts {
			if n > 0 {
				all[part+": "+why] += n
			}
		}
	}
	bridges := 0
	for _, e := range v.Engines {
		add("connection", e.Refused)
		if e.Logons != nil {
			bridges++
			add("log-on", e.Logons.Refused)
		}
	}
	if bridges == 0 {
		add("log-on", v.Refused)
	}
	return all
}

func viewOfEngine(e *Engine) engineView {
	s := e.Engine.Stats()
	v := engineView{Name: e.Name, Addrs: []string{}, Open: s.Conns.Open, Shaking: s.Conns.Handshaking, Queueing: s.Conns.HandshakesWaiting,
		Accepted: s.Conns.Accepted, Checking: s.Conns.Verifying, Bound: s.Conns.Bound, Closing: s.Conns.Closing, Total: s.Accepted,
		Refused: refusalsOf(s.Refused), Bans: s.Bans, Transports: s.Transports, Closed: byName(s.Closed), Outcomes: make(map[string]uint64),
		Probes: s.Probes, In: traffic(s.In), Out: traffic(s.Out), Dropped: traffic(s.Dropped), InboundQueue: s.InboundQueue,
		OutboundQueue: s.OutboundQueue, Lost: s.Lost, HandlerPanics: s.HandlerPanics, HandlerErrors: s.HandlerErrors, Stalls: s.Stalls}
	for _, addr := range e.Engine.Addrs() {
		v.Addrs = append(v.Addrs, addr.Network()+" "+addr.String())
	}
	for how, n := range s.Outcomes {
		v.Outcomes[how.String()] = n
	}
	if e.Bridge != nil {
		l := e.Bridge.Logons()
		v.Logons = &logonsView{l.LoggingOn, l.Authenticating, byName(l.Refused), l.AuthenticatorPanics}
	}
	return v
}

func refusalsOf(r engine.Refusals) map[string]uint64 {
	return map[string]uint64{"full": r.Full, "address": r.Address, "subnet": r.Subnet, "banned": r.Banned, "proxy": r.Proxy, "hook": r.Hook,
		"handshake": r.Handshake, "failed": r.Failed}
}
