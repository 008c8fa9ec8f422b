package contract

import (
	"slices"

	"github.com/rollcall-go/rollcall/usermgr"
)

// Policy says which sessions a user may have at a time (rule 17). It is a usermgr.Devices that this package can read, to
// find by itself the sessions that a logon must push out.
type Policy struct {
	OnePerClass bool        // one session on each device class
	Max         int         // of sessions a user; without OnePerClass several may be on device 0. 0 for the manager's default
	Pairs       [][2]uint16 // device classes that exclude each other
	Known       []uint16    // device classes on which a user may log on; none for all
}

// several reports whether a user may have more than one session.
func (p Policy) several() bool { return p.OnePerClass || p.Max > 1 }

func (p Policy) knows(device uint16) bool {
	return len(p.Known) == 0 || slices.Contains(p.Known, device)
}

func (p Policy) devices() usermgr.Devices {
	return usermgr.Devices{OnePerClass: p.OnePerClass, MaxSessions: p.Max, Exclusive: p.Pairs, Known: p.Known}
}

// login has what a policy needs to know of a logon.
type login struct {
	conn           uint64
	device         uint16
	token, session string
	takeOver       string // the session that it comes back with, see chains
}

// login returns what is known of the logon on a connection.
func (j *judge) login(conn uint64) login {
	l := login{conn: conn}
	if c := j.byConn[conn]; c != nil {
		l.device, l.token, l.session = c.device, c.token, c.session
		if t := j.chains.targets[conn]; t != 0 {
			l.takeOver = j.of(t).connected.info.ID
		}
	}
	if b := j.of(conn); b.connected != nil {
		l.session = b.connected.info.ID
	}
	return l
}

func (l login) same(o login) bool {
	return l.takeOver != "" && l.takeOver == o.session || l.sameToken(o)
}

func (p Policy) clash(a, b uint16) bool {
	switch {
	case !p.several():
		return true
	case a == b:
		return a != 0 || p.OnePerClass
	}
	return slices.Contains(p.Pairs, [2]uint16{a, b}) || slices.Contains(p.Pairs, [2]uint16{b, a})
}

// excluded returns the connections of the live sessions that the logon must push out. live is sorted, oldest first.
func (p Policy) excluded(live []login, l login) []uint64 {
	goes := make([]bool, len(live))
	stay := 0
	for i, o := range live {
		if goes[i] = l.same(o) || p.clash(o.device, l.device); !goes[i] {
			stay++
		}
	}
	for i := 0; i < len(live) && p.Max > 0 && stay >= p.Max; i++ {
		if !goes[i] {
			goes[i] = true
			stay--
		}
	}
	var conns []uint64
	for i, o := range live {
		if goes[i] {
			conns = append(conns, o.conn)
		}
	}
	return conns
}
