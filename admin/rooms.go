package admin

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// roomsView is a list of rooms: the groups of bridges (bridge.Group) that have members.
type roomsView struct {
	Rooms   []room  `json:"rooms"` // those with most members first
	Count   int     `json:"count"` // how many match
	Members int     `json:"members"`
	Whole   bool    `json:"whole"` // false: the scan was cut, or more match than are listed
	Took    float64 `json:"took"`  // milliseconds
}

type roomName struct {
	Name   string `json:"name"`
	Engine string `json:"engine"` // the name of the engine whose bridge has it
}

type room struct {
	roomName
	Members int `json:"members"`
}

// compare orders rooms: those with most members first.
func (r room) compare(o room) int {
	return cmp.Or(cmp.Compare(o.Members, r.Members), cmp.Compare(r.Name, o.Name), cmp.Compare(r.Engine, o.Engine))
}

// rooms answers with the largest rooms, of those whose names have a text in them. It looks at all rooms.
func (a *Admin) rooms(c *call) {
	limit, ok := c.number("limit", 100, 1, 1000)
	if !ok {
		return
	}
	match, _ := matcherOf(c.param("q"))
	done := a.scan(c)
	if done == nil {
		return
	}
	t := startClock(c)
	v := roomsView{Whole: true}
	a.listRooms(&v, match, limit, &t, done)
	v.Took = t.took()
	c.answer(v)
}

// listRooms looks at all rooms, and keeps the largest of those whose names match.
func (a *Admin) listRooms(v *roomsView, match func(name string) bool, limit int, t *clock, done func()) {
	defer done()
	rooms := make([]room, 0, limit+1)
	for i := range a.cfg.Engines {
		e := &a.cfg.Engines[i]
		if e.Bridge == nil {
			continue
		}
		seam.RoomsOf(e.Bridge).Rooms(func(name string, members int) bool {
			if match(name) {
				v.Count, v.Members = v.Count+1, v.Members+members
				r := room{roomName{name, e.Name}, members}
				at, _ := slices.BinarySearchFunc(rooms, r, room.compare)
				if at < limit {
					rooms = slices.Insert(rooms, at, r)
					rooms = rooms[:min(len(rooms), limit)]
				}
			}
			v.Whole = v.Whole && !t.over(1)
			return v.Whole
		})
	}
	v.Rooms, v.Whole = rooms, v.Whole && v.Count <= limit
}

// roomView is a room with its members.
type roomView struct {
	room
	Listed []roomMember `json:"listed"` // the first ones, ordered by user
}

type roomMember struct {
	User string `json:"user"`
	Conn uint64 `json:"conn,omitempty"` // 0: the user, with all sessions
}

// maxListed is how many members of a room are listed.
const maxListed = 1000

// room answers with one room.
func (a *Admin) room(c *call) {
	name, engine := c.param("name"), c.param("engine")
	at := slices.IndexFunc(a.cfg.Engines, func(e Engine) bool { return e.Name == engine && e.Bridge != nil })
	if at < 0 {
		c.fail(http.StatusNotFound, "no engine with a bridge has this name")
		return
	}
	members := a.cfg.Engines[at].Bridge.Group(name).Members()
	v := roomView{room: room{roomName{name, engine}, len(members)}, Listed: []roomMember{}}
	for _, m := range members[:min(len(members), maxListed)] {
		x := roomMember{User: m.UserID}
		if m.Conn != nil {
			x.Conn = m.Conn.ID()
		}
		v.Listed = append(v.Listed, x)
	}
	c.answer(v)
}

// roomsOf returns the rooms that a user is in.
func (a *Admin) roomsOf(userID string, sessions []session) (rooms []roomName) {
	conns := make([]uint64, len(sessions))
	for i := range sessions {
		conns[i] = sessions[i].Conn
	}
	for i := range a.cfg.Engines {
		e := &a.cfg.Engines[i]
		if e.Bridge == nil {
			continue
		}
		names := seam.RoomsOf(e.Bridge).RoomsOf(userID, conns)
		slices.Sort(names)
		for _, name := range names {
			rooms = append(rooms, roomName{name, e.Name})
		}
	}
	return rooms
}
