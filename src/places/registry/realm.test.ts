import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judgeRealm } from './realm.ts'

const cases: [string, string, ReturnType<typeof judgeRealm>][] = [
  ['https://registry-1.docker.io', 'https://auth.docker.io/token', 'credentials'],
  ['https://ghcr.io', 'https://ghcr.io/token', 'credentials'],
  ['https://registry.gitlab.com', 'https://gitlab.com/jwt/auth', 'credentials'],
  ['https://gitlab.site.test:5050', 'https://gitlab.site.test/jwt/auth', 'credentials'],
  ['https://registry.site.co.uk', 'https://auth.site.co.uk/token', 'credentials'],
  ['https://me.azurecr.io', 'https://me.azurecr.io/oauth2/token', 'credentials'],
  ['https://10.0.0.1:5000', 'https://10.0.0.1:5001/token', 'credentials'],
  ['http://127.0.0.1:5000', 'http://127.0.0.1:5001/token', 'credentials'],
  ['http://localhost:5000', 'http://[::1]:5001/token', 'credentials'],
  ['http://registry.site.test:5000', 'http://registry.site.test:5001/token', 'credentials'],
  ['https://registry.trusting.test', 'https://sso.elsewhere.test/token', 'credentials'],
  ['https://registry-1.docker.io', 'https://evil.test/token', 'anonymous'],
  ['https://registry-1.docker.io', 'https://auth.docker.io.evil.test/token', 'anonymous'],
  ['https://registry.one.co.uk', 'https://auth.two.co.uk/token', 'anonymous'],
  ['https://me.azurecr.io', 'https://evil.azurecr.io/token', 'anonymous'],
  ['https://10.0.0.1', 'https://11.0.0.1/token', 'anonymous'],
  ['https://lscr.io', 'https://ghcr.io/token', 'anonymous'],
  ['http://127.0.0.1:5000', 'http://10.0.0.1/token', 'anonymous'],
  ['https://ghcr.io', 'http://ghcr.io/token', 'refused'],
  ['https://ghcr.io', 'https://127.0.0.1/token', 'refused'],
  ['https://ghcr.io', 'https://0x7f.1/token', 'refused'],
  ['https://ghcr.io', 'file:///etc/passwd', 'refused'],
]

test('credentials go to the registry’s owner only', () => {
  for (const [registry, realm, expected] of cases) {
    const verdict = judgeRealm(new URL(registry), new URL(realm), ['sso.elsewhere.test'])
    assert.equal(verdict, expected, `${registry} -> ${realm}`)
  }
})
