// Package stack runs the real servers that operators have (Postfix, Dovecot, OpenDKIM, nginx) and the real monitors that
// read stepwatch (Prometheus, Nagios) for a test: from Debian's packages, with an own zone, an own CA and own accounts.
//
// Everything lives in network, mount and process namespaces of its own, which Enter makes: the servers have their real
// ports, nothing reaches the outside, several stacks run side by side, and no process or mount outlives the first process
// of the namespaces, however it ends. Nothing of the machine is changed. That needs Linux and root; Usable says what is
// missing.
//
// Beside the good host there are hosts with one fault each, so that a test changes no server's configuration: see Mail.
// The DNS zone is example.test; its name server runs inside the calling process.
//
// Start starts what most tests need. More is started by those that need it: StartRoute (a relay, MX hosts and a store, each
// with a queue of its own), StartProxy (IMAP and POP3), StartExim (Exim 4 before a smarthost, and as a server),
// StartDNS (Knot with a secondary and signed zones, and Unbound as a resolver), StartFail2ban (bans for wrong logins),
// StartSites (nginx before Apache and Varnish, and an application).
// Mailservers has mail servers of other makes and generations (OpenSMTPD, Courier-IMAP, Cyrus IMAP, and Postfix, Exim and
// Dovecot of Debian 13), each pair at a host of its own. Those cannot be installed beside the others: they run in trees,
// directories with packages that .ci/install unpacks.
// Secured has those that speak TLS below another protocol: LDAP, FTP, XMPP, PostgreSQL, MariaDB, ManageSieve and LMTP.
package stack
