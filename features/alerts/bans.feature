# Who tries passwords? fail2ban bans an address that fails too often. Some bans are always there; many at once are an attack
# by many machines, against which bans do little: look at which accounts they try ("journalctl -t dovecot", the mail log).
# That fail2ban itself does not run is a failure too.
#
# Needs nothing in stepwatch.yml, but runs on the machine itself and as root, because fail2ban answers to nobody else. Leave
# out the jails that you have not enabled ("fail2ban-client status" lists those that you have).
@every:5m
Feature: Bans

  Scenario Outline: Few addresses are banned for wrong passwords by <jail>
    When I read the bans of fail2ban's jail "<jail>"
    Then fewer than 50 addresses are banned

    Examples:
      | jail         |
      | postfix-sasl |
      | dovecot      |
      | sshd         |
