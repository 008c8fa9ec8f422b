package admin

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// traffic is a protocol.Traffic.
type traffic struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	LastType uint16 `json:"lastType,omitempty"`
}

// counters are usermgr.Counters.
type counters struct {
	In      traffic `json:"in"`
	Out     traffic `json:"out"`
	Dropped traffic `json:"dropped"`
}

func countersOf(c usermgr.Counters) counters {
	return counters{traffic(c.In), traffic(c.Out), traffic(c.Dropped)}
}

// session is what is shown of a usermgr.SessionInfo: everything but the session's ID and its token. The number of its connection names it.
type session struct {
	User        string    `json:"user"`
	Conn        uint64    `json:"conn"`
	Address     string    `json:"address"`
	Via         string    `json:"via"`
	Device      uint16    `json:"device"`
	LogonTime   time.Time `json:"logonTime"`
	LastActive  time.Time `json:"lastActive"`
	LastMessage time.Time `json:"lastMessage"`
	counters
	Tag     string            `json:"tag,omitempty"`
	UserTag string            `json:"userTag,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
	// Generation is of the session's claim, in a cluster.
	Generation uint64 `json:"generation,omitempty"`
	// These are of a session that lives.
	WaitingIn  int      `json:"waitingIn,omitempty"`
	WaitingOut int      `json:"waitingOut,omitempty"`
	Trouble    []string `json:"trouble,omitempty"` // see troubleOf
}

// ended is a usermgr.ClosedSession.
type ended struct {
	session
	Code int       `json:"code"`
	Why  string    `json:"why"` // the code's name
	At   time.Time `json:"at"`
}

// userView is what is shown of a user.
type userView struct {
	User       string    `json:"user"`
	Online     bool      `json:"online"`
	Since      time.Time `json:"since,omitzero"`
	LastActive time.Time `json:"lastActive,omitzero"`
	counters
	Tag         string     `json:"tag,omitempty"`
	Presence    string     `json:"presence,omitempty"` // the state that others see
	BannedUntil time.Time  `json:"bannedUntil,omitzero"`
	Sessions    []session  `json:"sessions"`
	Rooms       []roomName `json:"rooms"`
	Ended       []ended    `json:"ended"` // the user's sessions that have ended, as far as they are remembered
}

// codeName is a code's name, or "code N".
func codeName(c protocol.CloseCode) string { return c.Error() }

// plainView describes a session that need not live any more. It has no fields: of a session that has ended the token is not known, so that
// nothing could be held against it.
func (a *Admin) plainView(s *usermgr.SessionInfo) session {
	v := session{User: s.UserID, Conn: s.Conn, Via: s.Via, Device: s.Device, LogonTime: s.LogonTime, LastActive: s.LastActive,
		LastMessage: s.LastMessage, counters: countersOf(s.Counters), Tag: s.Tag, UserTag: s.UserTag, Generation: s.Generation}
	if s.Remote.IsValid() {
		v.Address = s.Remote.String()
	}
	return v
}

// view describes a session that lives.
func (a *Admin) view(s *usermgr.SessionInfo) session {
	v := a.plainView(s)
	for _, name := range a.cfg.ShowFields {
		text, ok := s.Fields[name]
		if !ok || strings.Contains(text, s.ID) || strings.Contains(text, s.Token) { // a secret stays one, also where a client repeats it
			continue
		}
		if v.Fields == nil {
			v.Fields = make(map[string]string)
		}
		v.Fields[name] = text
	}
	v.WaitingIn, v.WaitingOut = a.waits(s.Conn)
	v.Trouble = a.troubleOf(s, v.WaitingOut)
	return v
}

func (a *Admin) views(all []usermgr.SessionInfo) []session {
	vs := make([]session, len(all))
	for i := range all {
		vs[i] = a.view(&all[i])
	}
	return vs
}

func (a *Admin) endedView(c *usermgr.ClosedSession) ended {
	return ended{a.plainView(&c.SessionInfo), int(c.Code), codeName(c.Code), c.At}
}

// find returns the open connection with this number, and its engine; nil for none.
func (a *Admin) find(conn uint64) (*Engine, *engine.Conn) {
	for i := range a.cfg.Engines {
		if c := a.cfg.Engines[i].Engine.Conn(conn); c != nil {
			return &a.cfg.Engines[i], c
		}
	}
	return nil, nil
}

// waits returns how many bytes wait for a connection, in each direction.
func (a *Admin) waits(conn uint64) (in, out int) {
	if _, c := a.find(conn); c != nil {
		return seam.ConnOf(c).Waits()
	}
	return 0, 0
}

// recently is for how long a session is in trouble that has lost messages.
const recently = 5 * time.Minute

// muchWaits is from how many waiting bytes on a client does not keep up. A few bytes wait for a moment in any connection.
const muchWaits = 16 << 10

// troubleOf returns in which ways a session is in trouble: "dropped" when messages for it were dropped recently, "waiting" when its client does not
// take what is sent, "silent" when nothing has come for two thirds of the heartbeat timeout, in which two heartbeats should have come.
func (a *Admin) troubleOf(s *usermgr.SessionInfo, waitingOut int) (all []string) {
	if time.Since(s.LastDropped) < recently {
		all = append(all, "dropped")
	}
	if waitingOut >= muchWaits {
		all = append(all, "waiting")
	}
	if timeout := a.cfg.Users.HeartbeatTimeout(); timeout > 0 && time.Since(s.LastActive) > timeout/3*2 {
		all = append(all, "silent")
	}
	return all
}

// fill describes a user's sessions, and what is known besides.
func (a *Admin) fill(v *userView, d *usermgr.UserData, online bool) {
	v.Sessions, v.Rooms, v.Ended = []session{}, []roomName{}, []ended{}
	v.BannedUntil, _ = a.cfg.Users.BannedUntil(v.User)
	if !online {
		return
	}
	v.Online, v.Since, v.LastActive, v.counters, v.Tag = true, d.Since, d.LastActive, countersOf(d.Counters), d.Tag
	v.Sessions = a.views(d.Sessions)
	v.Rooms = append(v.Rooms, a.roomsOf(v.User, v.Sessions)...)
	if a.cfg.Presence != nil {
		v.Presence = a.cfg.Presence.Visible(v.User).String()
	}
}

// user answers with everything that is known of one user.
func (a *Admin) user(c *call) {
	id := c.param("id")
	if id == "" {
		c.fail(http.StatusBadRequest, "id is missing: the user's ID")
		return
	}
	v := userView{User: id}
	d, online := a.cfg.Users.User(id)
	a.fill(&v, &d, online)
	for _, s := range a.cfg.Users.Closed() {
		if s.UserID == id && len(v.Ended) < 100 {
			v.Ended = append(v.Ended, a.endedView(&s))
		}
	}
	c.answer(v)
}

// connView is what is shown of a connection.
type connView struct {
	Conn       uint64   `json:"conn"`
	Engine     string   `json:"engine"`
	Address    string   `json:"address"`
	Via        string   `json:"via"`
	User       string   `json:"user"` // "" before a user is bound
	WaitingIn  int      `json:"waitingIn"`
	WaitingOut int      `json:"waitingOut"`
	TLS        *tlsView `json:"tls,omitempty"`
	Session    *session `json:"session,omitempty"`
}

// tlsView is what is shown of a handshake.
type tlsView struct {
	Version     string `json:"version"`
	Cipher      string `json:"cipher"`
	Protocol    string `json:"protocol,omitempty"`    // by ALPN
	ServerName  string `json:"serverName,omitempty"`  // that the client asked for
	Certificate string `json:"certificate,omitempty"` // the subject of the client's verified one
}

// conn answers with everything that is known of one connection.
func (a *Admin) conn(c *call) {
	v := connView{Conn: c.conn}
	e, conn := a.find(c.conn)
	s, ok := a.cfg.Users.SessionAt(c.conn)
	if conn == nil && !ok {
		c.fail(http.StatusNotFound, "no open connection has this number")
		return
	}
	if conn != nil {
		v.Engine, v.Via, v.User = e.Name, conn.Transport(), conn.UserID()
		if at := conn.RemoteAddr(); at.IsValid() {
			v.Address = at.String()
		}
		v.WaitingIn, v.WaitingOut = seam.ConnOf(conn).Waits()
		v.TLS = tlsOf(conn)
	}
	if ok {
		sv := a.view(&s)
		v.Session, v.User, v.Address, v.Via = &sv, sv.User, sv.Address, sv.Via
	}
	c.answer(v)
}

// closed answers with the last sessions that have ended, the latest first.
func (a *Admin) closed(c *call) {
	limit, ok := c.number("limit", 1000, 1, 1000)
	if !ok {
		return
	}
	code, user := c.param("code"), c.param("user")
	all := a.cfg.Users.Closed()
	v := struct {
		Closed []ended `json:"closed"`
		Whole  bool    `json:"whole"` // no more of them match
	}{Closed: []ended{}, Whole: true}
	for _, s := range all {
		if user != "" && s.UserID != user || code != "" && !slices.Contains([]string{codeName(s.Code), strconv.Itoa(int(s.Code))}, code) {
			continue
		}
		if len(v.Closed) == limit {
			v.Whole = false
			break
		}
		v.Closed = append(v.Closed, a.endedView(&s))
	}
	c.answer(v)
}
