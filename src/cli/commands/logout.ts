import { defineCommand } from '../command.ts'
import { dockerDirectory } from '../credentials.ts'
import { writeLine } from '../output.ts'

export const command = defineCommand({
  description: "Takes the credentials for a registry out of docker's config.json. Without HOST it is Docker Hub.",
  operands: [{ name: 'HOST', optional: true }],
  watched: false,
  options: {},
  examples: [{ line: 'windlass logout registry.example:5000', does: 'Forget a login.' }],
  async run(context, [host = 'docker.io']) {
    const { removeLogin } = await import('../../places/registry/login.ts')
    const path = await removeLogin(dockerDirectory(context), host)
    if (!context.quiet)
      writeLine(context, path === undefined ? `Not logged in to ${host}` : `Removed login for ${host}`)
    return 0
  },
})
