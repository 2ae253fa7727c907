"""The identity engine of a real OpenBao as an OpenID Connect issuer."""

import json
import urllib.request


class Issuer:
    """It signs who has logged in to it."""

    def __init__(self, bao):
        self.bao = bao
        self.url = f"{bao.url}/v1/identity/oidc"
        bao.write("identity/oidc/config", issuer=bao.url)
        bao.write("sys/auth/userpass", type="userpass")
        bao.write("sys/policies/acl/tokens", policy='path "identity/oidc/token/*" { capabilities = ["read"] }')
        self.accessor = bao.read("sys/auth")["userpass/"]["accessor"]

    def entity(self, name):
        """Somebody: the subject of its tokens, and what it logged in with."""
        subject = self.bao.write("identity/entity", name=name)["id"]
        self.bao.write("identity/entity-alias", name=name, canonical_id=subject, mount_accessor=self.accessor)
        self.bao.write(f"auth/userpass/users/{name}", password="secret", token_policies="tokens")
        login = self.bao.write(f"auth/userpass/login/{name}", password="secret")
        return subject, login["auth"]["client_token"]

    def key(self, name, **more):
        """A key that is rotated by hand alone."""
        self.bao.write(f"identity/oidc/key/{name}", rotation_period="24h", allowed_client_ids=["*"], **more)

    def rotate(self, name, verification_ttl):
        """The next key signs from here on; this one counts so long."""
        self.bao.write(f"identity/oidc/key/{name}/rotate", verification_ttl=verification_ttl)

    def role(self, name, key, audience, ttl):
        """A kind of token."""
        self.bao.write(f"identity/oidc/role/{name}", key=key, client_id=audience, ttl=ttl)

    def token(self, login, role):
        """A fresh token."""
        asked = urllib.request.Request(f"{self.bao.url}/v1/identity/oidc/token/{role}", headers={"X-Vault-Token": login})
        return read(asked)["data"]["token"]

    def described(self):
        """Its own description."""
        return read(f"{self.url}/.well-known/openid-configuration")

    def kids(self):
        """The names of the keys that it publishes."""
        return [key["kid"] for key in read(self.described()["jwks_uri"])["keys"]]


def read(what):
    """A document in JSON."""
    with urllib.request.urlopen(what, timeout=30) as answer:
        return json.load(answer)
