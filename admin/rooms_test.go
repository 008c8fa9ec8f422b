package admin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rooms are listed with the largest first, with the hostile names that any text may be, and a user's page has the user's own.
func TestRooms(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	if v := get[roomsView](t, s, "rooms"); len(v.Rooms) != 0 || v.Count != 0 || !v.Whole {
		t.Errorf("without a room: %+v", v)
	}
	s.logOn(t, "ann", "bob")
	join := func(room string, m bridge.Member) {
		t.Helper()
		if err := s.Bridge.Group(room).Join(m); err != nil {
			t.Fatal(err)
		}
	}
	bobs, _ := s.Users.User("bob")
	conn := s.Engine.Conn(bobs.Sessions[0].Conn)
	for i, name := range hostile {
		if join(name, bridge.Member{UserID: "ann"}); i%2 == 0 {
			join(name, bridge.Member{Conn: conn})
		}
	}
	join(hostile[0], bridge.Member{UserID: "bob"}) // beside the session
	v := get[roomsView](t, s, "rooms")
	if v.Count != len(hostile) || len(v.Rooms) != v.Count || v.Members != v.Count+(v.Count+1)/2+1 || !v.Whole || v.Rooms[0] != (room{roomName{hostile[0], "main"}, 3}) ||
		!slices.IsSortedFunc(v.Rooms, room.compare) {
		t.Errorf("%+v", v)
	}
	if v := get[roomsView](t, s, "rooms?limit=2"); len(v.Rooms) != 2 || v.Whole || v.Count != len(hostile) || v.Rooms[0].Members != 3 {
		t.Errorf("the two largest: %+v", v)
	}
	if v := get[roomsView](t, s, "rooms?q=SCRIPT"); v.Count != 0 {
		t.Errorf("capitals match capitals: %+v", v)
	}
	if v := get[roomsView](t, s, "rooms?q=script"); v.Count != 1 || v.Rooms[0].Name != hostile[2] {
		t.Errorf("by a part of the name: %+v", v)
	}
	for i, name := range hostile {
		r := get[roomView](t, s, "room?engine=main&name="+url.QueryEscape(name))
		want := []roomMember{{User: "ann"}, {User: "bob", Conn: conn.ID()}}[:2-i%2]
		if i == 0 {
			want = []roomMember{want[0], {User: "bob"}, want[1]}
		}
		if r.Name != name || r.Members != len(want) || !slices.Equal(r.Listed, want) {
			t.Errorf("%q: %+v", name, r)
		}
	}
	var all []roomName
	for _, name := range slices.Sorted(slices.Values(hostile)) {
		all = append(all, roomName{name, "main"})
	}
	if u := get[userView](t, s, "user?id=ann"); !slices.Equal(u.Rooms, all) {
		t.Errorf("ann is in %q", u.Rooms)
	}
	if u := get[userView](t, s, "user?id=bob"); len(u.Rooms) != (len(hostile)+1)/2 { // each once
		t.Errorf("bob is in %q", u.Rooms)
	}
	if got := s.ask("GET", apiPrefix+"room?engine=other&name=x", ""); got.status != 404 {
		t.Errorf("a room of no engine: %d", got.status)
	}
	s.admin.scans <- struct{}{}
	if got := s.ask("GET", apiPrefix+"rooms", ""); got.status != 429 {
		t.Errorf("beside a scan: %d", got.status)
	}
}

// A user's state is what others see. Contacts come by pages, and a store that fails is said.
func TestPresenceAndChat(t *testing.T) {
	var talk *chat.Service
	t.Cleanup(func() { _ = talk.Close(context.Background()) }) // after the server's end
	s := newStandWith(t, rollcall.Config{}, func(srv *rollcall.Server) {
		talk = testkit.Must(chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory()}))
	}, func(c *Config) { c.Presence, c.Chat = talk.Presence(), talk })
	s.logOn(t, "ann", "bob")
	ctx := t.Context()
	if v := get[overviewView](t, s, "overview"); !slices.Equal(v.Has, []string{"chat", "presence"}) {
		t.Errorf("it has %q", v.Has)
	}
	if err := talk.Presence().Set(ctx, "ann", presence.Busy); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "ann is busy", func() bool {
		return get[userView](t, s, "user?id=ann").Presence == protocol.PresenceBusy.String()
	})
	if v := get[userView](t, s, "user?id=zoe"); v.Presence != "" {
		t.Errorf("a user who is not online here is %s", v.Presence)
	}
	for i := range 5 {
		id := fmt.Sprint("friend", i)
		testkit.Must(talk.CreateUser(ctx, chat.NewUser{UserID: id}))
		testkit.Must(talk.RequestFriend(ctx, "ann", id, "hello"))
	}
	if err := talk.AnswerFriend(ctx, "friend1", "ann", true); err != nil {
		t.Fatal(err)
	}
	if err := talk.Block(ctx, "ann", "bob", true); err != nil {
		t.Fatal(err)
	}
	group := testkit.Must(talk.CreateGroup(ctx, "ann", chat.Group{Name: "<b>room</b>"}))
	var contacts []string
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		v := get[relationsView](t, s, "relations?id=ann&limit=4&after="+after)
		if (len(v.Groups) == 1) != (pages == 0) || pages == 0 && v.Groups[0] != (groupView{uint64(group), "<b>room</b>", "ann", 1}) {
			t.Errorf("page %d has the groups %+v", pages, v.Groups)
		}
		for _, c := range v.Contacts {
			contacts = append(contacts, fmt.Sprintf("%s %s %t", c.User, c.State, c.Blocked))
		}
		after = v.Next
	}
	want := []string{"bob  true", "friend0 asked by me false", "friend1 friend false", "friend2 asked by me false", "friend3 asked by me false", "friend4 asked by me false"}
	if !slices.Equal(contacts, want) {
		t.Errorf("the contacts are %q", contacts)
	}
	if got := s.ask("GET", apiPrefix+"relations", ""); got.status != 400 {
		t.Errorf("without an ID: %d", got.status)
	}
}

// brokenChat is a chat whose store is away.
type brokenChat struct{}

func (brokenChat) Contacts(context.Context, string, string, int) ([]chat.Contact, error) {
	return nil, errors.New("the store is away")
}
func (brokenChat) Groups(context.Context, string) ([]chat.Group, error) { return nil, nil }

func TestWithoutAChat(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	if got := s.ask("GET", apiPrefix+"relations?id=ann", ""); got.status != 404 {
		t.Errorf("without a chat: %d", got.status)
	}
	s = newStand(t, rollcall.Config{}, func(c *Config) { c.Chat = brokenChat{} })
	if got := s.ask("GET", apiPrefix+"relations?id=ann", ""); got.status != 502 {
		t.Errorf("with a chat whose store is away: %d", got.status)
	}
}
