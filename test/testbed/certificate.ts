/** A certificate that nobody vouches for, for the loopback address and `registry.test`. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface TestCertificate {
  readonly keyFile: string
  readonly certFile: string
  /** PEM, as in the files. */
  readonly key: string
  readonly cert: string
}

export function makeCertificate(directory: string): TestCertificate {
  const [keyFile, certFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const names = ['-subj', '/CN=windlass test', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:registry.test']
  execFileSync('openssl', [...request, '-keyout', keyFile, '-out', certFile, ...names], { stdio: 'ignore' })
  return { keyFile, certFile, key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8') }
}
