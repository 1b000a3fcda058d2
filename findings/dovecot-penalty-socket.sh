#!/bin/sh
# Dovecot 2.3.19 (Debian 12), the first login after the auth penalty was switched off.
#
# Guess: a server that no longer penalises failed logins greets and logs in at once after its restart.
# Seen: the first client waits five seconds for the IMAP greeting. A stop leaves the socket anvil-auth-penalty in the run
# directory. With "unix_listener anvil-auth-penalty { mode = 0 }" nobody listens there, and the new auth process tries to
# connect to it for five seconds before it is ready; until then no login process greets anybody. Then the log has
# "net_connect_unix(anvil-auth-penalty) failed: Connection refused", and later clients are served at once, until the auth
# process is started anew. Without the old socket there is no wait.
# A monitor sees a greeting that is late by five seconds after each start, long after the setting was changed.
#
# Run as root on Debian 12 with python3 and with apt's package lists. It exits with 1 when the behaviour is another one.
set -eu
version=1:2.3.19.1+dfsg1-2.1+deb12u7
dir=$(mktemp -d)
chmod 755 "$dir"
started=
cleanup() {
	[ -z "$started" ] || kill "$started" 2>/dev/null || true
	sleep 1
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
apt-get download -q "dovecot-core=$version" "dovecot-imapd=$version" >apt.log 2>&1 || {
	cat apt.log
	exit 1
}
mkdir root run mail
for package in ./*.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH="$dir/root/usr/lib/dovecot"
export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$dir/root/usr/lib/dovecot/modules"
printf 'alice:{PLAIN}wonderland::::::\n' >users
chmod 644 users
chown nobody mail

configure() { # penalty mode
	cat >dovecot.conf <<-CONF
		base_dir = $dir/run
		state_dir = $dir/run
		libexec_dir = $dir/root/usr/lib/dovecot
		log_path = $dir/log
		protocols = imap
		ssl = no
		disable_plaintext_auth = no
		listen = 127.0.0.1
		default_internal_user = nobody
		default_internal_group = nogroup
		default_login_user = nobody
		first_valid_uid = 1
		mail_uid = nobody
		mail_gid = nogroup
		mail_location = maildir:$dir/mail
		import_environment = TZ LD_LIBRARY_PATH
		passdb {
		  driver = passwd-file
		  args = $dir/users
		}
		userdb {
		  driver = static
		  args = uid=nobody gid=nogroup home=$dir/mail
		}
		service imap-login {
		  chroot =
		  inet_listener imap {
		    port = 21143
		  }
		  inet_listener imaps {
		    port = 0
		  }
		}
		service anvil {
		  chroot =
		  unix_listener anvil-auth-penalty {
		    mode = $1
		  }
		}
	CONF
}

start() {
	root/usr/sbin/dovecot -F -c "$dir/dovecot.conf" 2>>"$dir/start.log" &
	started=$!
	for _ in $(seq 100); do
		if python3 -c 'import socket; socket.create_connection(("127.0.0.1", 21143), 1)' 2>/dev/null; then return; fi
		sleep 0.1
	done
	cat "$dir/start.log" "$dir/log" 2>/dev/null || true
	exit 1
}

stop() {
	kill "$started"
	wait "$started" || true
	started=
}

login() { # prints the whole seconds until the greeting and a LOGIN are over
	python3 - <<-'PY'
		import imaplib, time
		begin = time.monotonic()
		c = imaplib.IMAP4("127.0.0.1", 21143)
		c.login("alice", "wonderland")
		print(int(time.monotonic() - begin))
		c.logout()
	PY
}

configure 0600
start
with=$(login)
stop
configure 0
start
left=$(login)
later=$(login)
stop
rm -f run/anvil-auth-penalty
start
removed=$(login)
stop
grep -q 'anvil-auth-penalty) failed: Connection refused' log
echo "greeting and LOGIN: $with s with the penalty; switched off, $left s for the first client and $later s for the next; $removed s without the old socket"
[ "$with" -eq 0 ] && [ "$left" -ge 4 ] && [ "$later" -eq 0 ] && [ "$removed" -eq 0 ]
