package result

// Reason is why a step or a run did not pass: one of a short closed list, for labels. The free text is in Error.
type Reason string

// The reasons. Each describes what happened, not who caused it: that is Blame.
const (
	ReasonDNS           Reason = "dns"                   // the name does not resolve, or the resolver does not answer
	ReasonConnect       Reason = "connect"               // no connection: port closed, host or network unreachable
	ReasonTLS           Reason = "tls"                   // the handshake failed, or the server does not offer the required TLS
	ReasonCertExpired   Reason = "certificate_expired"   // outside the certificate's validity
	ReasonCertHost      Reason = "certificate_host"      // the certificate is for another name
	ReasonCertAuthority Reason = "certificate_authority" // no trusted root signed it
	ReasonCertChain     Reason = "certificate_chain"     // the server does not send an intermediate
	ReasonCertWeak      Reason = "certificate_weak"      // a key or a signature that is too weak
	ReasonCertSoon      Reason = "certificate_soon"      // the certificate expires sooner than the step allows
	ReasonCertRevoked   Reason = "certificate_revoked"   // its authority revoked it
	ReasonAuth          Reason = "auth"                  // the credentials were refused, or cannot be used
	ReasonRefused       Reason = "refused"               // a permanent refusal by the server (SMTP 5xx, IMAP NO)
	ReasonDeferred      Reason = "deferred"              // a temporary refusal by the server (SMTP 4xx, greylisting)
	ReasonDisconnected  Reason = "disconnected"          // the server ended the connection during the dialogue (BYE, reset)
	ReasonProtocol      Reason = "protocol"              // the server's answer violates its protocol
	ReasonTimeout       Reason = "timeout"               // no answer before the deadline
	ReasonNotReceived   Reason = "not_received"          // the mail did not arrive in time
	ReasonHTTPStatus    Reason = "http_status"           // a status that the step does not accept
	ReasonRedirect      Reason = "redirect"              // a redirect loop, or a redirect that leads nowhere
	ReasonTooLarge      Reason = "too_large"             // larger than the limit of what is read
	ReasonNotFound      Reason = "not_found"             // the object of the step does not exist, such as a link, field, button or form of the page
	ReasonUnexpected    Reason = "unexpected"            // the result is not what the step expects
	ReasonSlow          Reason = "slow"                  // correct, but later than the step allows
	ReasonWarning       Reason = "warning"               // a plugin reported WARNING
	ReasonConfig        Reason = "config"                // an account, secret or setting is missing or wrong in the configuration
	ReasonScenario      Reason = "scenario"              // the scenario itself is wrong: undefined, ambiguous, in the wrong order
	ReasonPanic         Reason = "panic"                 // the step's code panicked
	ReasonAbandoned     Reason = "abandoned"             // the step ignored its deadline and was abandoned
	ReasonBrowser       Reason = "browser"               // the browser failed, or cannot be started; nothing is known about the website
	ReasonNotRun        Reason = "not_run"               // a due run could not start, or did not end, in time
	ReasonLack          Reason = "lack"                  // the machine of stepwatch lacks something, such as file descriptors or a route (Result.Lack)
	ReasonCanceled      Reason = "canceled"              // stepwatch was stopped
	ReasonInternal      Reason = "internal"              // stepwatch itself failed
)

// OfNetwork reports whether the network of this machine could be why a step failed for this reason.
func (r Reason) OfNetwork() bool {
	switch r {
	case ReasonConnect, ReasonTimeout, ReasonDNS, ReasonDisconnected, ReasonNotReceived:
		return true
	}
	return false
}

// Blame says whose fault a failure is: the leg that failed, which determines the owner.
type Blame string

// The legs. Mail has the six on the path of a message, the web has its own, and the last two are not the target's
// fault.
const (
	BlameDNS        Blame = "dns"        // name resolution
	BlameNetwork    Blame = "network"    // reaching the host
	BlameSubmission Blame = "submission" // the server that accepts the mail
	BlameQueue      Blame = "queue"      // waiting inside a mail server
	BlameTransfer   Blame = "transfer"   // from server to server
	BlameFiltering  Blame = "filtering"  // spam, virus and policy filters
	BlameDelivery   Blame = "delivery"   // into the mailbox
	BlameAccess     Blame = "access"     // reading the mailbox: IMAP, POP3
	BlameWeb        Blame = "web"        // the web server or the application behind it
	BlameTarget     Blame = "target"     // the monitored system, when its leg is unknown
	BlameScenario   Blame = "scenario"   // the feature file or the configuration
	BlameMonitor    Blame = "monitor"    // stepwatch or the machine that it runs on
)
