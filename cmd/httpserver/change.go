package httpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// userKey is the key of the name of who is logged in.
type userKey struct{}

// User returns who sent a request: the name of the login, or the name in the verified client certificate. It returns "" for
// a person on this machine, who needs no login.
func User(ctx context.Context) string {
	name, _ := ctx.Value(userKey{}).(string)
	return name
}

// localPersons decides who may change something: whoever is logged in, and persons on this machine. The latter are told from
// the peer's address, and from that the request neither came through a proxy nor from a page of somebody else.
type localPersons struct {
	listenHost string
	login      func() bool // whether one is configured
}

// forwarding are the header fields with which proxies say whom they ask for. A request that has one of them comes from
// elsewhere, even if the proxy is on this machine.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// guard passes on what only reads, and what comes from somebody who may change something.
func (l *localPersons) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if refused := l.refusal(r, "change anything here"); refused != "" {
				refuse(w, r, http.StatusForbidden, refused)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// refusal says why a request may not do something, and what to do about it. It is "" if it may.
func (l *localPersons) refusal(r *http.Request, act string) string {
	// A browser sends a login and a client certificate by itself, whoever wrote the page.
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return fmt.Sprintf("a page of another site may not %s: open stepwatch's own page, or use a program such as curl", act)
	}
	if User(r.Context()) != "" {
		return ""
	}
	how := "configure a login (basic_auth_users, or client certificates) in a file, and start the agent with --web.config.file"
	if l.login() {
		how = "log in"
	}
	peer, err := netip.ParseAddr(host(r.RemoteAddr))
	if err != nil || !peer.Unmap().WithZone("").IsLoopback() {
		return fmt.Sprintf("without a login, only persons on the machine of the agent may %s, and this request came from %s: %s", act, host(r.RemoteAddr), how)
	}
	if i := slices.IndexFunc(forwarding, func(field string) bool { return len(r.Header.Values(field)) > 0 }); i >= 0 {
		return fmt.Sprintf("without a login, only persons on the machine of the agent may %s, and this request came through a proxy (it has %s): %s", act, forwarding[i], how)
	}
	if !r.ProtoAtLeast(1, 1) { // as nginx sends them when nobody told it otherwise, without a field that says so
		return fmt.Sprintf("without a login, only persons on the machine of the agent may %s, and this request of %s seems to come through a proxy: %s", act, r.Proto, how)
	}
	// A page of somebody else reaches this port under its own name, if that name is made to point to 127.0.0.1.
	name := strings.TrimSuffix(strings.ToLower(host(r.Host)), ".")
	_, err = netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil && name != "localhost" && name != strings.ToLower(l.listenHost) {
		return fmt.Sprintf("without a login, the Host of a request that may %s must be localhost or an IP address, and it is %q: use http://localhost, or %s", act, r.Host, how)
	}
	return ""
}

// refuse answers with a refusal: in JSON to who asked the API (RFC 9457), in text to others.
func refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		http.Error(w, detail, status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail}) // the client may have left
}

// Host returns the host of an address to listen on, for Options.
func Host(listen string) string {
	name, _, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	return name
}
