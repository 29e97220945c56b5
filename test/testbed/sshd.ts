/** An ssh server of the test's own on loopback, with a key of its own, into which the user who runs the test may log in. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { run, startDaemon } from './command.ts'

export interface TestSshd extends AsyncDisposable {
  /** `user@127.0.0.1:PORT` */
  readonly address: string
  /** A directory with an `ssh` that has the key and knows the server, to be put first on a PATH. */
  readonly programs: string
}

export async function startSshd(): Promise<TestSshd> {
  const base = await mkdtemp(join(tmpdir(), 'windlass-sshd-'))
  const port = await findPort()
  for (const name of ['host', 'user'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(base, name)])
  const server = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${base}/host`,
    `AuthorizedKeysFile ${base}/user.pub`,
    `PidFile ${base}/pid`,
    'StrictModes no', // the key lies in a directory of everybody's
    'PasswordAuthentication no',
    'UsePAM no',
  ]
  await writeFile(join(base, 'server'), `${server.join('\n')}\n`)
  const client = [
    `IdentityFile ${base}/user`,
    'IdentitiesOnly yes',
    `UserKnownHostsFile ${base}/known`,
    'StrictHostKeyChecking accept-new',
  ]
  await writeFile(join(base, 'client'), `${client.join('\n')}\n`)
  const programs = join(base, 'bin')
  await mkdir(programs)
  await writeFile(join(programs, 'ssh'), `#!/bin/sh\nexec /usr/bin/ssh -F '${base}/client' "$@"\n`, { mode: 0o755 })
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 }) // where sshd locks itself up before anybody has logged in
  const daemon = await startDaemon('/usr/sbin/sshd', ['-D', '-e', '-f', join(base, 'server')], {
    logFile: join(base, 'log'),
    isReady: () => isListening(port),
  })
  return {
    address: `${userInfo().username}@127.0.0.1:${port}`,
    programs,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]()
      await rm(base, { recursive: true, force: true })
    },
  }
}

/** A port of loopback that nobody uses now. */
export async function findPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise(resolve => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  }).finally(() => socket.destroy()) as Promise<boolean>
}
