package usermgr

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 10: of a session that has ended no more than digests are kept, and after the grace nothing, also where the user stays
// online and nothing else happens.
func TestPastLoginsAreForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const grace, every, logons = time.Minute, 10 * time.Second, 20
		m := testkit.Must(New(Config{OfflineGrace: grace, Devices: Devices{OnePerClass: true}, HeartbeatTimeout: -1}))
		defer func() {
			if err := m.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		on := func(l Logon) Session {
			l.UserID = "ann"
			s, err := m.Register(t.Context(), l, nowhere{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		on(Logon{Device: 1}) // she stays online
		u := m.users.get("ann")
		known := func() (int, bool) {
			u.mu.Lock()
			defer u.mu.Unlock()
			p := u.lazy.Load()
			return len(p.logins.logins), p.logins.timer != nil
		}
		most := 0
		for i := range logons {
			on(Logon{Device: 2, Token: fmt.Sprint("token ", i)}).End(protocol.NetworkError)
			synctest.Wait()
			n, _ := known()
			most = max(most, n)
			time.Sleep(every)
		}
		if want := int(grace/every) + 1; most > want || most < want-1 {
			t.Errorf("%d logins were known at a time, want %d", most, want)
		}
		time.Sleep(grace)
		synctest.Wait()
		if n, runs := known(); n != 0 || runs {
			t.Errorf("after the grace %d logins are known, and the timer runs: %v", n, runs)
		}
		on(Logon{Device: 2, Token: "again"}).End(protocol.NetworkError)
		synctest.Wait()
		if n, runs := known(); n != 1 || !runs {
			t.Errorf("of one more %d logins are known, and the timer runs: %v", n, runs)
		}
		time.Sleep(grace + time.Second)
		synctest.Wait()
		if n, runs := known(); n != 0 || runs {
			t.Errorf("after its grace %d logins are known, and the timer runs: %v", n, runs)
		}
	})
}

// Rules 10 and 25: the time in which the process stood still does not count towards the grace, and so a kick in the grace revokes the token of
// the session that has ended before.
func TestAKickAfterAGapRevokesTheTokenOfTheSessionBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testkit.Must(New(Config{OfflineGrace: 10 * time.Second, HeartbeatTimeout: -1}))
		defer func() {
			if err := m.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		logOn := func() (Session, error) {
			return m.Register(t.Context(), Logon{UserID: "ann", Token: "secret"}, nowhere{})
		}
		testkit.Must(logOn()).End(protocol.NetworkError)
		synctest.Wait()
		m.clock.stop()
		time.Sleep(time.Minute)
		m.clock.ran.Tick()
		m.clock.look(time.Since(m.clock.began), time.Now().UnixNano())
		if _, err := m.Kick("ann", &KickOptions{RevokeFor: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if _, err := logOn(); !errors.Is(err, protocol.Unauthorized) {
			t.Errorf("a logon with the token was answered %v", err)
		}
	})
}
