# Is what DNS says about our mail right? Receivers look here first: a record that nobody can read is worse than none, and most of
# them break when something else is changed, such as one more service in the SPF record or a new key in the signer.
#
# Needs in stepwatch.yml: an account "alice" with an address in the domain, and the server that takes her mail (smtp).
# Replace the DKIM selector "mail" by yours (s= in the DKIM-Signature of a mail from the domain). Without MTA-STS, TLS reports or
# DANE (which needs a zone that is signed with DNSSEC) leave those scenarios out.
@every:15m
Feature: DNS records of the mail domain

  # Receivers stop after ten look-ups, also of what is included, and then mail has no SPF at all. spf_dns_lookups tells how
  # close it is.
  Scenario: SPF names our server and nobody else
    Then the SPF record of "alice" is valid
    And the SPF record of "alice" permits "alice"
    # An address that is nobody's (RFC 5737).
    And the SPF record of "alice" does not permit "203.0.113.1"

  Scenario: The DKIM key can be used
    Then the DKIM key "mail" of "alice" is valid

  # With "none" mail in our name that is forged is delivered. Begin with it, and end with "reject".
  Scenario: Forged mail is refused
    Then the DMARC record of "alice" is valid
    And the DMARC record of "alice" has the policy "reject"

  # Mail servers mistrust a host whose address has another name, or none.
  Scenario: The mail server's address has its name
    Then the address of "alice" and its name match both ways
    And the greeting of "alice:25" names a host at its address

  # An MX host that the policy does not name gets no mail from those who honour it.
  @every:1h
  Scenario: Senders are told to use TLS
    Then the MTA-STS policy of "alice" is valid
    And the MTA-STS policy of "alice" has the mode "enforce"
    And the TLS-RPT record of "alice" is valid

  # After a renewal with another key, mail from those who honour DANE stays away until the TLSA record is changed.
  Scenario: The certificate is the one that DNS names
    Then DANE protects every MX of "alice"
