//go:build linux

package stack

import (
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"sync"
)

// App is a small web application: a login with a session, a page that a script fills, one with a frame and a dialog, and the
// requests that came by mail.
type App struct {
	server  *http.Server
	done    chan error
	inbox   string // Maildir that requests come to
	session string

	mu       sync.Mutex
	password string
	fault    AppFault
}

// AppFault is something that is wrong with the application.
type AppFault string

// The faults.
const (
	Sound        AppFault = ""
	OpenDefaults AppFault = "the default password is accepted"
	WrongPage    AppFault = "the wrong page is behind the login"
	DeadScript   AppFault = "the script is missing"
	NoMail       AppFault = "mail is not read"
	NoFrame      AppFault = "the frame is missing"
)

func startApp(ctx context.Context, address, password, inbox string) (*App, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	a := &App{done: make(chan error, 1), inbox: inbox, password: password, session: newPassword()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, "Society", `<a href="/login">Log in</a> <a href="/requests">Requests</a> <a href="/search">Search</a> <a href="/shop">Shop</a>`)
	})
	for _, path := range []string{"/login", "/admin"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { a.form(w, path, "") })
		mux.HandleFunc("POST "+path, a.login(path))
	}
	mux.HandleFunc("GET /members", a.members)
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Path: "/", MaxAge: -1})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /requests", a.requests)
	mux.HandleFunc("GET /search", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, "Search", `<p>Found: <span id="count">…</span></p><script src="/search.js"></script>`)
	})
	mux.HandleFunc("GET /search.js", func(w http.ResponseWriter, r *http.Request) {
		if a.has(DeadScript) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `setTimeout(() => { document.getElementById("count").textContent = "42 documents" }, 200)`)
	})
	mux.HandleFunc("GET /shop", func(w http.ResponseWriter, _ *http.Request) {
		frame := `<iframe src="/shop/price"></iframe>`
		if a.has(NoFrame) {
			frame = ""
		}
		show(w, http.StatusOK, "Shop", frame+`<button onclick="if (confirm('Order it?')) document.getElementById('state').textContent = 'Ordered'">Order</button><p id="state"></p>`)
	})
	mux.HandleFunc("GET /shop/price", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, "Price", `<p>12 pounds</p>`) })
	a.server = &http.Server{Handler: mux}
	go func() { a.done <- a.server.Serve(listener) }()
	return a, nil
}

// Break gives the application a fault, until the next call.
func (a *App) Break(fault AppFault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
}

func (a *App) has(fault AppFault) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fault == fault
}

func (a *App) close() error {
	err := a.server.Close()
	<-a.done
	return err
}

func show(w http.ResponseWriter, status int, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!DOCTYPE html><html lang=en><title>%s</title><h1>%[1]s</h1>\n%s</html>", title, body)
}

func (a *App) form(w http.ResponseWriter, path, note string) {
	show(w, http.StatusOK, "Log in", fmt.Sprintf(`%s<form method="post" action="%s"><label>User name <input name="user"></label>
<label>Password <input name="password" type="password"></label><button>Log in</button></form>`, note, path))
}

func (a *App) login(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password := r.PostFormValue("user"), r.PostFormValue("password")
		known := user == "member" && password == a.password || a.has(OpenDefaults) && user == "admin" && password == "admin"
		if !known {
			a.form(w, path, `<p class="error">Wrong name or password</p>`)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: a.session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, "/members", http.StatusSeeOther)
	}
}

func (a *App) members(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("session")
	switch {
	case err != nil || cookie.Value != a.session:
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	case a.has(WrongPage):
		show(w, http.StatusOK, "Maintenance", `<p>Back soon</p>`)
	default:
		show(w, http.StatusOK, "Members", `<p>You are logged in as member</p><form method="post" action="/logout"><button>Log out</button></form>`)
	}
}

// requests lists the mail that came, each with its subject and text.
func (a *App) requests(w http.ResponseWriter, _ *http.Request) {
	list := ""
	for _, folder := range []string{"new", "cur"} {
		names, err := filepath.Glob(filepath.Join(a.inbox, folder, "*"))
		if err != nil || a.has(NoMail) {
			continue
		}
		for _, name := range names {
			if content, err := os.Open(name); err == nil {
				if message, err := mail.ReadMessage(content); err == nil {
					text, _ := io.ReadAll(io.LimitReader(message.Body, 1<<16))
					list += fmt.Sprintf("<h2>%s</h2><pre>%s</pre>\n", html.EscapeString(message.Header.Get("Subject")), html.EscapeString(string(text)))
				}
				content.Close()
			}
		}
	}
	show(w, http.StatusOK, "Requests", list)
}
