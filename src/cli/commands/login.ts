import { createReadStream } from 'node:fs'
import { WindlassError } from '../../errors.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions, readConnections } from '../connections.ts'
import { dockerDirectory } from '../credentials.ts'
import { writeLine, writeNote } from '../output.ts'

/** Tokens that serve as passwords have some kilobytes. */
const passwordMax = 64 * 1024

export const command = defineCommand({
  description:
    "Asks a registry whether it takes the credentials, and keeps them in docker's config.json, where docker and podman find them, too. The password comes from stdin, so that neither " +
    'the list of processes nor the history of the shell has it. Without HOST it is Docker Hub.',
  operands: [{ name: 'HOST', optional: true }],
  watched: false,
  options: {
    username: { type: 'string', short: 'u', value: 'NAME', summary: 'the name of the user' },
    'password-stdin': { type: 'boolean', summary: 'read the password from stdin; it is the only way' },
    ...connectionOptions,
  },
  examples: [
    {
      line: 'cat token | windlass login -u ci --password-stdin registry.example:5000',
      does: 'Log in with a password from a file.',
    },
  ],
  exits: ['3  the registry does not take them', '4  network or TLS'],
  async run(context, [host = 'docker.io'], { username, 'password-stdin': fromStdin, ...connections }) {
    const { signal } = context
    if (username === undefined || !fromStdin)
      throw new WindlassError('USAGE', `Cannot log in to ${host}: wanted --username NAME and --password-stdin`)
    const password = await readPassword(signal)
    const { checkLogin, saveLogin } = await import('../../places/registry/login.ts')
    const credentials = { find: async () => ({ username, password }) }
    await checkLogin(host, { ...(await readConnections(context, connections)), credentials }, signal)
    const path = await saveLogin(dockerDirectory(context), host, { username, password })
    writeNote(context, `The password is in ${path}, not encrypted`)
    if (!context.quiet) writeLine(context, 'Login Succeeded')
    return 0
  },
})

async function readPassword(signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of createReadStream('', { fd: 0, autoClose: false, end: passwordMax, signal }))
    chunks.push(chunk as Buffer)
  const password = Buffer.concat(chunks)
    .toString()
    .replace(/\r?\n$/, '')
  if (password === '') throw new WindlassError('USAGE', 'Cannot log in: the password from stdin is empty')
  return password
}
